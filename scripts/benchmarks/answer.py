"""Parses one answer completely: its first bytes, its size, and whether the server closes.

The generator parses the first answer in this way. Of all later answers it only counts the bytes.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import BinaryIO

from .connect import BadAnswerError, connect
from .loads import Load

CRLF = b"\r\n"
FINAL_TEXT = 0x81


@dataclass(frozen=True)
class Answer:
    """An HTTP response or a WebSocket message.

    `first_bytes` is the status line of a response or the header of a frame. `size` counts all bytes
    on the wire. `closes` says whether the server closes the connection after this answer.
    """

    first_bytes: bytes
    body: bytes
    size: int
    closes: bool


class _Reader:
    """Reads from a connection and counts the bytes that it read in `size`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = 0

    def read_line(self) -> bytes:
        """Return the next line without its CRLF. Raises BadAnswerError at the end of the stream."""
        line = self._stream.readline()
        self.size += len(line)
        if not line.endswith(CRLF):
            raise BadAnswerError("the connection closed in the middle of an answer")
        return line[:-2]

    def read_exactly(self, count: int) -> bytes:
        """Return the next `count` bytes. Raises BadAnswerError at the end of the stream."""
        data = self._stream.read(count)
        self.size += len(data)
        if len(data) < count:
            raise BadAnswerError("the connection closed in the middle of an answer")
        return data

    def read_to_end(self) -> bytes:
        """Return all bytes up to the end of the stream."""
        data = self._stream.read()
        self.size += len(data)
        return data


def request_once(port: int, load: Load, timeout: float = 5.0) -> Answer:
    """Send the first request of `load` on a new connection and return the answer.

    `timeout` is in seconds, for each read. Raises BadAnswerError when the body is not the one that
    the load expects, when the status is not 200, or when TLS fails; OSError without a connection.
    """
    try:
        answer = _send_and_read(port, load, timeout)
    except ssl.SSLError as error:
        raise BadAnswerError(f"no TLS: {error}") from None
    if answer.body != load.body:
        raise BadAnswerError(f"answered {answer.first_bytes!r} {answer.body[:40]!r}")
    return answer


def _send_and_read(port: int, load: Load, timeout: float) -> Answer:
    with connect(port, load, timeout) as connection:
        connection.sendall(next(load.iterate_requests()))
        with connection.makefile("rb") as stream:
            reader = _Reader(stream)
            return _read_frame(reader) if load.opening else _read_response(reader)


def _read_frame(reader: _Reader) -> Answer:
    """Read an unmasked WebSocket text frame with up to 125 bytes (RFC 6455, section 5.2)."""
    head = reader.read_exactly(2)
    if head[0] != FINAL_TEXT or head[1] > 125:
        raise BadAnswerError(f"not a small text frame: {head!r}")
    return Answer(head, reader.read_exactly(head[1]), reader.size, closes=False)


def _read_response(reader: _Reader) -> Answer:
    """Read an HTTP/1 response with status 200; its body may have any framing (RFC 9112, 6)."""
    status_line = reader.read_line()
    if not status_line.startswith(b"HTTP/1."):
        raise BadAnswerError(f"not an HTTP/1 answer: {status_line[:40]!r}")
    if b" 200 " not in status_line:
        raise BadAnswerError(f"answered {status_line!r}")
    headers = {}
    while line := reader.read_line():
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip().lower()

    connection = headers.get(b"connection", b"")
    closes = connection == b"close" or (
        status_line.startswith(b"HTTP/1.0") and connection != b"keep-alive"
    )
    if headers.get(b"transfer-encoding") == b"chunked":
        body = _read_chunks(reader)
    elif b"content-length" in headers:
        body = reader.read_exactly(int(headers[b"content-length"]))
    else:
        body, closes = reader.read_to_end(), True
    return Answer(status_line, body, reader.size, closes)


def _read_chunks(reader: _Reader) -> bytes:
    """Read a chunked body and its trailers (RFC 9112, section 7.1)."""
    body = b""
    while size := int(reader.read_line().partition(b";")[0], 16):
        body += reader.read_exactly(size)
        reader.read_exactly(len(CRLF))
    while reader.read_line():  # trailers, up to the empty line
        pass
    return body
