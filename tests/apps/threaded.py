"""A WSGI app whose calls wait in a Gate of the test's (a fifo in the working directory)."""

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], None]]

ran: list[str] = []
"""Queries of the requests that were run."""


def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """The path says what to do."""
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    ran.append(query)
    if path == "/hold":
        Path(query).read_bytes()
    if path == "/stack":
        threading.stack_size(int(query))
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/stream":
        return stream(query)
    if path == "/ran":
        return ["\n".join(ran).encode()]
    if path == "/threads":
        return [b"%d" % sum(t.name.startswith("prefork-wsgi") for t in threading.enumerate())]
    return [query.encode()]


def lift() -> None:
    """Threads may be started again as soon as the fifo called ``lift`` was opened and closed."""
    Path("lift").read_bytes()
    threading.stack_size(0)


if Path("lift").exists():
    threading.Thread(target=lift, daemon=True).start()


def stream(gate: str) -> Iterator[bytes]:
    yield b"now"
    Path(gate).read_bytes()
    yield b"then"
