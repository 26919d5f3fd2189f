"""Files as responses: by ``wsgi.file_wrapper`` in every shape, and by ``http.response.pathsend``.

The path names a file in ``$FILES`` behind the way to send it; the query may ask for a
Content-Length, and for an offset to begin at.
"""

import gzip
import io
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

FOLDER = Path(os.environ["FILES"])

Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], None]]


def wsgi(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """The first part of the path says how, the second which file."""
    _, how, name = environ["PATH_INFO"].split("/", 2)
    query = parse_qs(environ["QUERY_STRING"])
    fields = [("Content-Length", length) for length in query.get("length", ())]
    if how in ("hello", "body"):
        start_response("200 OK", fields)
        return [b"hello" if how == "hello" else (FOLDER / name).read_bytes()]
    write = start_response("200 OK", fields)
    file = OPEN[how](FOLDER / name)
    for offset in query.get("offset", ()):
        file.read(int(offset))
    result: Iterable[bytes] = environ["wsgi.file_wrapper"](file, 1000)
    if how == "passed_on":
        return passed_on(result)
    if how == "behind":
        write(b"written ")
    return result


def passed_on(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Iterate over the wrapper, as a middleware does."""
    yield from pieces


class NoFile:
    """An object with ``read`` and nothing else."""

    def __init__(self, path: Path) -> None:
        self._pieces = iter([path.read_bytes(), b""])

    def read(self, size: int) -> bytes:
        return next(self._pieces)


def temporary(path: Path) -> Any:
    """A file that was written a moment ago, with bytes in Python's buffer."""
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115
    file.write(path.read_bytes())
    file.seek(0)
    return file


def pipe(path: Path) -> Any:
    """A file with a descriptor, but without size and position."""
    reader, writer = os.pipe()
    os.write(writer, path.read_bytes())
    os.close(writer)
    return open(reader, "rb")


OPEN: dict[str, Callable[[Path], Any]] = {
    "file": lambda path: path.open("rb"),
    "raw": lambda path: path.open("rb", buffering=0),
    "behind": lambda path: path.open("rb"),
    "passed_on": lambda path: path.open("rb"),
    "unzipped": gzip.open,
    "memory": lambda path: io.BytesIO(path.read_bytes()),
    "no_file": NoFile,
    "temporary": temporary,
    "pipe": pipe,
}


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """The ways that ASGI has."""
    if scope["type"] != "http":
        raise NotImplementedError
    _, how, name = scope["path"].split("/", 2)
    query = parse_qs(scope["query_string"].decode())
    fields = [(b"content-length", length.encode()) for length in query.get("length", ())]
    start = {"type": "http.response.start", "status": 200, "headers": fields}
    file = {"type": "http.response.pathsend", "path": str(FOLDER / name)}
    body = {"type": "http.response.body", "body": b"hello"}
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"right")]}
    match how:
        case "hello":
            messages = [start, body]
        case "body":
            messages = [start, body | {"body": (FOLDER / name).read_bytes()}]
        case "file":
            messages = [start, file]
        case "unstarted":
            messages = [file]
        case "mixed":
            messages = [start, body | {"more_body": True}, file]
        case "with_trailers":
            fields.append((b"trailer", b"x-sum"))
            messages = [start | {"trailers": True}, file, trailers]
    for message in messages:
        await send(message)
