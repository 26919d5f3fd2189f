"""ASGI extensions: early hints, files by path, trailers (asgi.readthedocs.io, Extensions).

The scope announces each of them.

Design
------
- **Trailers go to clients that sent ``TE: trailers``,** and only the fields that the response
  announced in ``Trailer`` (RFC 9110 section 6.5). For other clients the response ends with its
  body.
"""

import os
import stat
from collections.abc import Iterable
from typing import Any, cast

from prefork.http.exchange import Exchange
from prefork.http.request import RequestHead
from prefork.http.response_files import remaining_file_size, send_file, send_file_until_eof
from prefork.http.response_head import (
    PLAIN,
    STATUS_LINES,
    HeaderPair,
    ResponseError,
    encode_asgi_field,
    encode_early_hints,
)

EXTENSIONS = frozenset(
    ("http.response.early_hint", "http.response.pathsend", "http.response.trailers")
)
"""The names of the extensions, as in the scope; scope.py writes them out once more."""


def send_hint(exchange: Exchange, message: dict[str, Any]) -> None:
    """Send a 103 for the event ``http.response.early_hint``. Raises ResponseError."""
    links = [(b"Link", link) for link in message.get("links", ())]
    if not all(isinstance(link, bytes) for _, link in links):
        raise ResponseError("the links of an early hint must be byte strings")
    exchange.send_early_hints(encode_early_hints(links))


async def send_path(
    exchange: Exchange, status: int, fields: Iterable[HeaderPair], path: str, chunked: bool
) -> None:
    """Send head and body for the event ``http.response.pathsend``; the caller ends the response.

    ``chunked``: trailers follow, so the length is not declared. Raises ResponseError when the file
    cannot be sent, and ClientGoneError. It raises no other OSError, because apps take an OSError
    for a client that left.
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
    """Return whether the client accepts trailers (RFC 9110 section 6.5.1)."""
    return request.version == "1.1" and any(
        name == b"te" and b"trailers" in _split_list(value) for name, value in request.headers
    )


class Trailers:
    """The trailer fields of one response. ``encoded``: the lines that follow the body."""

    def __init__(self, fields: Iterable[HeaderPair]) -> None:
        """``fields``: those of the response head; ``Trailer`` among them announces the names."""
        pairs = [_validated(pair) for pair in fields]
        self.head_fields: list[HeaderPair] = [
            pair for pair in pairs if pair[0] != b"content-length"
        ]
        """The fields of the head without Content-Length: trailers need chunked framing."""
        self._announced = [
            word for name, value in pairs if name == b"trailer" for word in _split_list(value)
        ]
        self.encoded = b""

    def add(self, fields: Iterable[HeaderPair]) -> None:
        """Add those of ``fields`` that were announced and that do not frame the message.

        Raises ResponseError when one is not valid.
        """
        for pair in fields:
            line, meaning = encode_asgi_field(pair)
            if meaning == PLAIN and _validated(pair)[0] in self._announced:
                self.encoded += line


def _validated(pair: HeaderPair) -> tuple[bytes, bytes]:
    """Return name (small letters) and value. Raises ResponseError when HTTP does not allow the
    pair."""
    encode_asgi_field(pair)
    name, value = cast(tuple[bytes, bytes], pair)
    return name.lower(), value


def _split_list(value: bytes) -> list[bytes]:
    """Split a comma-separated value; in small letters."""
    return [word.strip() for word in value.lower().split(b",")]
