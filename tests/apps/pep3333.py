"""WSGI apps that use every freedom of PEP 3333; the path begins with the name of the function."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any
from wsgiref.validate import validator

Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], None]]

closed: list[str] = []


def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Call the function that the path names."""
    return globals()[environ["PATH_INFO"].split("/")[1]](environ, start_response)


def _valid(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Responses that the validator of the standard library allows, chosen by the path."""
    body = b""
    while piece := environ["wsgi.input"].read(1000):
        body += piece
    if environ["PATH_INFO"] == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([b"one", b"two"])
    if environ["PATH_INFO"] == "/nothing":
        start_response("204 No Content", [])
        return []
    if environ["PATH_INFO"] == "/write":
        start_response("200 OK", [("Content-Type", "text/plain")])(b"written ")
        return [b"and returned"]
    fields = [("Content-Type", "text/plain"), ("Content-Length", str(len(body) + 5))]
    start_response("200 OK", fields)
    return [b"valid" + body]


valid = validator(_valid)
"""Complains, by raising or on wsgi.errors, about everything that the server does wrong."""


class Closing:
    """An iterable that records when it is closed."""

    def __init__(self, name: str, pieces: Iterable[bytes]) -> None:
        self._name = name
        self._pieces = iter(pieces)

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        closed.append(self._name)


class ClosingList(list[bytes]):
    """A list that wants to be closed."""

    def close(self) -> None:
        closed.append("closing_list")


def what_was_closed(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [])
    return [json.dumps(closed).encode()]


def writes(environ: Environ, start: Start) -> Iterable[bytes]:
    write = start("200 OK", [("Content-Type", "text/plain")])
    write(b"one ")
    write(b"")
    write(b"two ")
    return [b"three"]


def only_writes(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [("Content-Length", "3")])(b"all")
    return []


def writes_then_yields(environ: Environ, start: Start) -> Iterable[bytes]:
    write = start("200 OK", [])
    write(b"one ")

    def pieces() -> Iterator[bytes]:
        yield b"two "
        write(b"three ")
        yield b"four"

    return pieces()


def generator(environ: Environ, start: Start) -> Iterator[bytes]:
    """A generator: no code of it runs before the first piece is pulled."""
    start("202 Accepted", [("X-Lazy", "yes")])
    yield b"one "
    yield b"two"


def empty_pieces(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [])
    return [b"", b"one ", b"", b"two", b""]


def only_empty_pieces(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [])
    return iter([b"", b""])


def no_pieces(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [])
    return []


def a_tuple(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [])
    return (b"one ", b"two")


def second_thoughts(environ: Environ, start: Start) -> Iterable[bytes]:
    """An error is found before anything was sent: the other response replaces the first."""
    start("200 OK", [("X-First", "yes")])
    try:
        raise ValueError("found in time")
    except ValueError:
        start("503 Sorry", [("X-Second", "yes")], sys.exc_info())
    return [b"sorry"]


def late_second_thoughts(environ: Environ, start: Start) -> Iterator[bytes]:
    """An empty piece sends no head yet."""
    start("200 OK", [])
    yield b""
    try:
        raise ValueError("found in time")
    except ValueError:
        start("503 Sorry", [], sys.exc_info())
    yield b"sorry"


def closing(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [])
    return Closing(environ["QUERY_STRING"], [b"one ", b"two"])


def closing_sized(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [("Content-Length", "7")])
    return Closing(environ["QUERY_STRING"], [b"one ", b"two"])


def closing_list(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [])
    return ClosingList([b"one"])


def closing_endless(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [])
    return Closing(environ["QUERY_STRING"], iter(lambda: b"x" * 65536, b""))


def replaced_after_a_bad_write(environ: Environ, start: Start) -> Iterable[bytes]:
    """Replaces a response that could not begin."""
    bad = ("X-Bad", "line\nend") if environ["QUERY_STRING"] else ("Content-Length", "3")
    try:
        start("200 OK", [bad])(b"never")
    except Exception:
        start("503 Sorry", [], sys.exc_info())
    return [b"sorry"]


def replaced_too_late(environ: Environ, start: Start) -> Iterable[bytes]:
    """Replaces a response whose bytes were sent: start_response raises the error again."""
    start("200 OK", [("Content-Length", "10")])(b"five ")
    try:
        raise ValueError("too late")
    except ValueError:
        start("500 Never", [], sys.exc_info())
    return [b"never"]


def several(environ: Environ, start: Start) -> Iterable[bytes]:
    """Pieces with a Content-Length, as most frameworks return them."""
    start("200 OK", [("Content-Length", "7")])
    return Closing(environ["QUERY_STRING"], [b"one ", b"", b"two", b""])


where: ContextVar[str] = ContextVar("where")


def in_one_context(environ: Environ, start: Start) -> Iterable[bytes]:
    """Set before the pieces, reset behind them: only the same context allows that."""
    before = where.get("nowhere")
    token = where.set("here")
    start("200 OK", [])

    def pieces() -> Iterator[bytes]:
        yield before.encode()
        yield b" " + where.get("lost").encode()
        where.reset(token)

    return pieces()


def sets_a_context(environ: Environ, start: Start) -> Iterable[bytes]:
    """Sets the variable and does not reset it."""
    found = where.get("nowhere")
    where.set("left behind")
    start("200 OK", [])
    return [found.encode()]


def hints(environ: Environ, start: Start) -> Iterable[bytes]:
    """Early hints, twice, and once more when it is too late."""
    early_hints = environ["wsgi.early_hints"]
    early_hints([("Link", "</a.css>; rel=preload"), ("Link", "</b.js>; rel=preload")])
    early_hints([["X-Hint", "a list"], ("Content-Length", "5"), ("Transfer-Encoding", "chunked")])
    early_hints([])
    start("200 OK", [])(b"body ")
    early_hints([("Link", "</late>")])
    return [b"and more"]


def bad_hints(environ: Environ, start: Start) -> Iterable[bytes]:
    """Early hints with a line end in a value."""
    try:
        environ["wsgi.early_hints"]([("Link", "</a>\r\nSet-Cookie: evil")])
    except Exception as error:
        start("200 OK", [])
        return [str(error).encode()]
    raise AssertionError


def reads(environ: Environ, start: Start) -> Iterable[bytes]:
    """Every way to read, on a body of lines."""
    stream = environ["wsgi.input"]
    found = [stream.read(3), stream.readline(), stream.readline(4)]
    found += [next(iter(stream)), *stream.readlines(1), stream.read(0)]
    found += list(stream)
    found += [stream.read(), stream.read(10), stream.readline(), *stream.readlines(), *stream]
    start("200 OK", [])
    return [json.dumps([piece.decode() for piece in found]).encode()]


def reads_nothing(environ: Environ, start: Start) -> Iterable[bytes]:
    """Every way to read, without a body."""
    stream = environ["wsgi.input"]
    found = [stream.read(), stream.read(5), stream.readline(), stream.readline(5)]
    found += [*stream.readlines(), *stream.readlines(5), *stream]
    start("200 OK", [])
    return [json.dumps([piece.decode() for piece in found]).encode()]


def errors(environ: Environ, start: Start) -> Iterable[bytes]:
    environ["wsgi.errors"].write("a line for the log\n")
    environ["wsgi.errors"].writelines(["and ", "another\n"])
    environ["wsgi.errors"].flush()
    start("200 OK", [])
    return [b"done"]


def describes(environ: Environ, start: Start) -> Iterable[bytes]:
    """environ as JSON, and the types of values that are no text."""
    text = {key: value for key, value in environ.items() if type(value) in (str, bool, tuple)}
    text["type"] = type(environ).__name__
    environ["HTTP_X_LEFT_BEHIND"] = "evil"
    environ["SCRIPT_NAME"] = "/evil"
    start("200 OK", [])
    return [json.dumps(text).encode()]


def reason(environ: Environ, start: Start) -> Iterable[bytes]:
    start("299 Tr\xe8s bien", [])
    return [b""]


def no_reason(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200", [])
    return [b""]
