"""What an ASGI app may send beyond the core of the specification: early hints, files, trailers.

Each is an extension that the scope announces (asgi.readthedocs.io, Extensions).
"""

import os
import stat
from collections.abc import Iterable
from typing import Any, cast

from prefork.http.exchange import Exchange
from prefork.http.request import RequestHead
from prefork.http.response_head import (
    PLAIN,
    STATUS_LINES,
    HeaderPair,
    ResponseError,
    encode_asgi_field,
    encode_early_hints,
)
from prefork.http.sendfile import remaining_file_size, send_file, send_file_until_eof

EXTENSIONS = frozenset(
    ("http.response.early_hint", "http.response.pathsend", "http.response.trailers")
)
"""Announced in the scope; see scope.py."""


def send_hint(exchange: Exchange, message: dict[str, Any]) -> None:
    """``http.response.early_hint``. Raises ResponseError."""
    links = [(b"Link", link) for link in message.get("links", ())]
    if not all(isinstance(link, bytes) for _, link in links):
        raise ResponseError("the links of an early hint must be byte strings")
    exchange.send_early_hints(encode_early_hints(links))


async def send_path(
    exchange: Exchange, status: int, fields: Iterable[HeaderPair], path: str, chunked: bool
) -> None:
    """``http.response.pathsend``: the head and the body, not the end.

    Raises ResponseError or ClientGoneError, and no other OSError: an app takes those for a client
    that left.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ResponseError(f"{path!r} is no file that can be sent")
            size = remaining_file_size(fd, 0)
            exchange.truncates_body = True
            length = None if chunked else size
            exchange.start_response(status, STATUS_LINES[status], fields, length)
            if size is None:
                await send_file_until_eof(exchange, fd, 0)
            else:
                await send_file(
                    exchange, fd, 0, size if exchange.remaining is None else exchange.remaining
                )
        finally:
            os.close(fd)
    except OSError as error:
        if isinstance(error, ConnectionError):
            raise
        raise ResponseError(f"the file cannot be sent: {error}") from error


def wants_trailers(request: RequestHead) -> bool:
    """Whether the client said that it reads trailers (RFC 9110 section 6.5.1)."""
    return request.version == "1.1" and any(
        name == b"te" and b"trailers" in _split_list(value) for name, value in request.headers
    )


class Trailers:
    """Fields behind the body, of those that the head announced."""

    def __init__(self, fields: Iterable[HeaderPair]) -> None:
        pairs = [_validated(pair) for pair in fields]
        self.head_fields: list[HeaderPair] = [
            pair for pair in pairs if pair[0] != b"content-length"
        ]
        """The fields of the head: trailers need chunks, and chunks have no Content-Length."""
        self._announced = [
            word for name, value in pairs if name == b"trailer" for word in _split_list(value)
        ]
        self.encoded = b""

    def add(self, fields: Iterable[HeaderPair]) -> None:
        """Raises ResponseError."""
        for pair in fields:
            line, meaning = encode_asgi_field(pair)
            if meaning == PLAIN and _validated(pair)[0] in self._announced:
                self.encoded += line


def _validated(pair: HeaderPair) -> tuple[bytes, bytes]:
    encode_asgi_field(pair)
    name, value = cast(tuple[bytes, bytes], pair)
    return name.lower(), value


def _split_list(value: bytes) -> list[bytes]:
    return [word.strip() for word in value.lower().split(b",")]
