"""A WSGI app with one path for each thing that a connection can go through."""

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], None]]

PATIENCE = 20.0

events: list[str] = []
"""The events of the apps, in order; ``/events`` tells it."""

gates: dict[str, threading.Event] = defaultdict(threading.Event)
"""Opened by ``/open/NAME``."""


def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """The first part of the path chooses, the rest is its argument."""
    name, _, argument = environ["PATH_INFO"].removeprefix("/").partition("/")
    return PAGES[name](environ, start_response, argument)


def hello(_environ: Environ, start_response: Start, _argument: str) -> Iterable[bytes]:
    """A short answer whose length the server finds out."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def told(_environ: Environ, start_response: Start, argument: str) -> Iterable[bytes]:
    """The rest of the path."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [argument.encode("latin-1")]


def sized(_environ: Environ, start_response: Start, _argument: str) -> Iterable[bytes]:
    """Pieces that add up to the length announced."""
    start_response("200 OK", [("Content-Length", "9")])
    return iter([b"one", b"two", b"six"])


def stream(_environ: Environ, start_response: Start, _argument: str) -> Iterable[bytes]:
    """Pieces of a body of unknown length."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return iter([b"one", b"two", b"three"])


def status(_environ: Environ, start_response: Start, argument: str) -> Iterable[bytes]:
    """A status, and a body if it may have one."""
    start_response(f"{argument} Whatever", [("X-Status", argument)])
    return [] if argument in ("204", "304") else [b"body"]


def echo(environ: Environ, start_response: Start, _argument: str) -> Iterable[bytes]:
    """The body of the request, piece by piece."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return iter(lambda: environ["wsgi.input"].read(65536), b"")


def size(environ: Environ, start_response: Start, _argument: str) -> Iterable[bytes]:
    """How large the body of the request is."""
    total = sum(len(piece) for piece in iter(lambda: environ["wsgi.input"].read(65536), b""))
    start_response("200 OK", [])
    return [str(total).encode()]


def close(_environ: Environ, start_response: Start, _argument: str) -> Iterable[bytes]:
    """The app wants the connection to end."""
    start_response("200 OK", [("Connection", "close")])
    return [b"bye"]


def own(_environ: Environ, start_response: Start, _argument: str) -> Iterable[bytes]:
    """Fields that the server writes itself."""
    fields = [
        ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("Server", "mine"),
        ("Keep-Alive", "timeout=99"),
        ("X-Twice", "a"),
        ("X-Twice", "b"),
    ]
    start_response("299 Fine Indeed", fields)
    return [b"own"]


def dump(environ: Environ, start_response: Start, _argument: str) -> Iterable[bytes]:
    """Everything in environ that is text."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({k: v for k, v in environ.items() if isinstance(v, str)}).encode()]


def scribble(environ: Environ, start_response: Start, _argument: str) -> Iterable[bytes]:
    """Answer whether environ was changed before; then change it."""
    scribbled = "scribbled" in environ
    environ["scribbled"] = True
    start_response("200 OK", [])
    return [json.dumps(scribbled).encode()]


def happened(_environ: Environ, start_response: Start, _argument: str) -> Iterable[bytes]:
    """The events so far."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(events).encode()]


def hold(_environ: Environ, start_response: Start, argument: str) -> Iterable[bytes]:
    """Answers when its gate is opened; needs a thread of its own."""
    assert gates[argument].wait(PATIENCE)
    start_response("200 OK", [])
    return [argument.encode()]


def half(_environ: Environ, start_response: Start, argument: str) -> Iterable[bytes]:
    """One piece now, the other when its gate is opened; lets others be served meanwhile."""

    def pieces() -> Iterator[bytes]:
        try:
            yield b"now"
            while not gates[argument].wait(0.001):
                yield b""
            yield b"then"
        finally:
            events.append(f"closed {argument}")

    start_response("200 OK", [])
    return pieces()


def endless(_environ: Environ, start_response: Start, argument: str) -> Iterable[bytes]:
    """A response without an end."""

    def pieces() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
        finally:
            events.append(f"closed {argument}")

    start_response("200 OK", [])
    return pieces()


def opened(_environ: Environ, start_response: Start, argument: str) -> Iterable[bytes]:
    """Open a gate."""
    gates[argument].set()
    start_response("200 OK", [])
    return [b"open"]


PAGES = {
    "": hello,
    "hello": hello,
    "told": told,
    "sized": sized,
    "stream": stream,
    "status": status,
    "echo": echo,
    "size": size,
    "close": close,
    "own": own,
    "dump": dump,
    "scribble": scribble,
    "events": happened,
    "hold": hold,
    "half": half,
    "endless": endless,
    "open": opened,
}
