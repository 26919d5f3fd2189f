"""Encode the heads of responses: status lines, header fields, Date (RFC 9110 sections 5, 6.6, 15).

Design
------
- **Encoded fields are cached.** An app sends the same few fields with every response, so a field
  is validated and encoded once. Only short values are cached and the number is bounded: an app
  whose fields never repeat costs validation but no memory.
- **ASGI header names are sent in lower case, whatever the app wrote; text instead of bytes is a
  500.** The specification wants byte strings in lower case.
"""

import re
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

from prefork.errors import AppError

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_REASON = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_MAX_CACHED = 1024
_MAX_CACHED_LENGTH = 256

HeaderPair = tuple[bytes, bytes] | tuple[str, str]
EncodedField = tuple[bytes, int]
"""The encoded line, and its meaning: PLAIN, DATE, SERVER, CLOSE, DROPPED, or, from 0 on, the value
of a Content-Length."""

PLAIN, DATE, SERVER, CLOSE, DROPPED = -1, -2, -3, -4, -5
"""Meanings of a field: no special one; Date; Server; ``Connection: close``; a field that is not
sent."""

ENCODED_FIELDS: dict[HeaderPair, EncodedField] = {}
"""The cache of encoded fields, by the pair that the app sent."""

HOP_BY_HOP = frozenset({b"connection", b"transfer-encoding", b"keep-alive", b"upgrade"})
JOIN_BELOW = 16 * 1024
"""Bytes of a body. A smaller one is copied behind its head; a larger one is handed to the transport
as it is."""
HEAD_END = b"\r\n"
HEAD_END_CLOSE = b"Connection: close\r\n\r\n"
HEAD_END_KEEP_ALIVE = b"Connection: keep-alive\r\n\r\n"
CONTENT_LENGTH_PREFIX = b"content-length:"
CONTENT_LENGTH_LINE = b"Content-Length: %d\r\n"
CHUNKED_LINE = b"Transfer-Encoding: chunked\r\n"
BODILESS_STATUSES = frozenset({204, 205, 304})


class ResponseError(AppError):
    """The app's response breaks HTTP or its interface; the client gets a 500."""


class DefaultFields:
    """The fields that every response has unless the app sets them: Date and, if configured, Server.

    State of the process: the worker's clock calls ``update`` with each tick.
    """

    lines = b""
    """The encoded lines of all default fields."""
    _date = b""
    _server = b""

    @classmethod
    def update(cls, seconds: float, server: str = "") -> None:
        """Encode the lines anew: Date for ``seconds`` since the epoch; ``server`` is the value of
        the Server field, empty for none."""
        cls._date = b"Date: %b\r\n" % formatdate(seconds, usegmt=True).encode("ascii")
        cls._server = b"Server: %b\r\n" % server.encode("ascii") if server else b""
        cls.lines = cls._date + cls._server

    @classmethod
    def lines_except(cls, meanings: set[int]) -> bytes:
        """Return the lines without the fields that the app set, given by their meanings."""
        date = b"" if DATE in meanings else cls._date
        return date if SERVER in meanings else date + cls._server


def _reason_phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


RETRY_AFTER = (b"Retry-After", b"1")
"""A field for 503 responses: one second, because every request that ends frees capacity."""

STATUS_LINES: dict[int, bytes] = {
    status: f"HTTP/1.1 {status} {_reason_phrase(status)}\r\n".encode() for status in range(100, 600)
}


WSGI_STATUSES: dict[str, tuple[int, bytes]] = {}
"""The cache of WSGI statuses: from the app's text to the number and the encoded status line."""


def encode_wsgi_status(text: str) -> tuple[int, bytes]:
    """Validate, encode and cache a WSGI status such as ``404 Not Found``.

    Returns the number and the encoded status line. Raises ResponseError.
    """
    reason = text.encode("latin-1", "replace")
    if not re.fullmatch("[2-5][0-9]{2}( .*)?", text) or not _REASON.fullmatch(reason):
        raise ResponseError(f"the status must be like '200 OK', not {text!r}")
    # Without a reason the line still has the space before it (RFC 9112 section 4).
    line = int(text[:3]), b"HTTP/1.1 " + reason + (b"\r\n" if " " in text else b" \r\n")
    if len(WSGI_STATUSES) < _MAX_CACHED:
        WSGI_STATUSES[text] = line
    return line


def encode_field(pair: HeaderPair) -> EncodedField:
    """Validate, encode and cache one header field.

    Raises ResponseError for characters that HTTP does not allow. CR and LF are among them: they
    would let a user of the app inject header fields (response splitting).
    """
    try:
        name, value = (part if isinstance(part, bytes) else part.encode("latin-1") for part in pair)
    except (AttributeError, ValueError, TypeError):
        raise ResponseError(f"a header must be a pair of short strings, not {pair!r}") from None
    if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ResponseError(f"a header holds characters that HTTP does not allow: {pair!r}")
    field = _interpret(name.lower(), value, b"%b: %b\r\n" % (name, value))
    if len(value) <= _MAX_CACHED_LENGTH:
        if len(ENCODED_FIELDS) >= _MAX_CACHED:
            # The few fields that every response has are back after one response.
            ENCODED_FIELDS.clear()
        ENCODED_FIELDS[pair] = field
    return field


def encode_early_hints(fields: Iterable[HeaderPair]) -> bytes:
    """Encode the fields of an interim response such as 103 Early Hints (RFC 8297).

    Fields with a meaning for the framing or the connection are left out. Raises ResponseError.
    """
    known = [encode_field(cast(HeaderPair, tuple(pair))) for pair in fields]
    return b"".join(line for line, meaning in known if meaning == PLAIN)


def encode_asgi_field(pair: HeaderPair) -> EncodedField:
    """Validate, encode and cache one header field of an ASGI app: bytes only, the name in lower
    case. Raises ResponseError."""
    name, value = pair if len(pair) == 2 else (None, None)
    if not isinstance(name, bytes) or not isinstance(value, bytes):
        raise ResponseError(f"a header must be a pair of byte strings, not {pair!r}")
    field = encode_field((name.lower(), value))
    if len(ENCODED_FIELDS) < _MAX_CACHED and len(value) <= _MAX_CACHED_LENGTH:
        ENCODED_FIELDS[name, value] = field
    return field


def _interpret(name: bytes, value: bytes, line: bytes) -> EncodedField:
    """Return the line of a field and its meaning. ``name``: in lower case."""
    if name == b"content-length":
        if not re.fullmatch(rb"[0-9]{1,18}", value):  # 18 digits fit into 64 bits
            raise ResponseError(f"Content-Length must be a number, not {value!r}")
        return line, int(value)
    if name == b"date":
        return line, DATE
    if name == b"server":
        return line, SERVER
    if name == b"connection" and b"close" in value.lower():
        return b"", CLOSE
    # The other hop-by-hop fields concern the connection, which the server owns (RFC 9110 7.6.1).
    return (b"", DROPPED) if name in HOP_BY_HOP else (line, PLAIN)
