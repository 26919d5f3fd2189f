"""The WSGI applications that every peer serves, one for each kind of answer.

Each is as small as the interface allows and ignores the path, so that its own cost is small.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

Environ = dict[str, Any]
Start = Callable[..., Any]
Headers = list[tuple[str, str]]

PIECE = 64 * 1024


def _headers(kind: str, length: int) -> Headers:
    return [("Content-Type", kind), ("Content-Length", str(length))]


HELLO = b"Hello, world!"
TEXT_10K = b"0123456789abcde\n" * 640
TEXT_1M = b"0123456789abcde\n" * 65536

HELLO_HEADERS = _headers("text/plain", len(HELLO))
HEADERS_10K = _headers("text/plain", len(TEXT_10K))
HEADERS_1M = _headers("text/plain", len(TEXT_1M))


def hello(_environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Answer 13 bytes."""
    start_response("200 OK", HELLO_HEADERS)
    return [HELLO]


def response_10k(_environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Answer 10 KB."""
    start_response("200 OK", HEADERS_10K)
    return [TEXT_10K]


def response_1m(_environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Answer 1 MB."""
    start_response("200 OK", HEADERS_1M)
    return [TEXT_1M]


def json_echo(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Parse the JSON body and answer with the same objects, serialized again."""
    received = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    body = json.dumps(received, separators=(",", ":")).encode()
    start_response("200 OK", _headers("application/json", len(body)))
    return [body]


def upload(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Read the body in pieces, discard them, and answer with the length of the body."""
    read = environ["wsgi.input"].read
    missing = length = int(environ["CONTENT_LENGTH"])
    while missing and (piece := read(min(PIECE, missing))):
        missing -= len(piece)
    body = b"%d" % (length - missing)
    start_response("200 OK", _headers("text/plain", len(body)))
    return [body]
