"""One answer, parsed in full: how it begins, its size on the wire, whether the server closes.

The generator reads one answer this way and from then on counts bytes.
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
    """`begins` is the status line of a response, or the head of a WebSocket frame."""

    begins: bytes
    body: bytes
    size: int
    closes: bool


class _Reader:
    """Reads from the wire and counts what it has read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = 0

    def line(self) -> bytes:
        line = self._stream.readline()
        self.size += len(line)
        if not line.endswith(CRLF):
            raise BadAnswerError("the connection closed in the middle of an answer")
        return line[:-2]

    def exactly(self, count: int) -> bytes:
        data = self._stream.read(count)
        self.size += len(data)
        if len(data) < count:
            raise BadAnswerError("the connection closed in the middle of an answer")
        return data

    def rest(self) -> bytes:
        data = self._stream.read()
        self.size += len(data)
        return data


def ask(port: int, load: Load, timeout: float = 5.0) -> Answer:
    """Sends one request on a connection of its own and reads the answer, which must be right."""
    try:
        answer = _answer(port, load, timeout)
    except ssl.SSLError as error:
        raise BadAnswerError(f"no TLS: {error}") from None
    if answer.body != load.body:
        raise BadAnswerError(f"answered {answer.begins!r} {answer.body[:40]!r}")
    return answer


def _answer(port: int, load: Load, timeout: float) -> Answer:
    with connect(port, load, timeout) as connection:
        connection.sendall(next(load.requests()))
        with connection.makefile("rb") as stream:
            reader = _Reader(stream)
            return _frame(reader) if load.opening else _response(reader)


def _frame(reader: _Reader) -> Answer:
    head = reader.exactly(2)
    if head[0] != FINAL_TEXT or head[1] > 125:
        raise BadAnswerError(f"not a small text frame: {head!r}")
    return Answer(head, reader.exactly(head[1]), reader.size, closes=False)


def _response(reader: _Reader) -> Answer:
    status_line = reader.line()
    if not status_line.startswith(b"HTTP/1."):
        raise BadAnswerError(f"not an HTTP/1 answer: {status_line[:40]!r}")
    if b" 200 " not in status_line:
        raise BadAnswerError(f"answered {status_line!r}")
    headers = {}
    while line := reader.line():
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip().lower()

    connection = headers.get(b"connection", b"")
    closes = connection == b"close" or (
        status_line.startswith(b"HTTP/1.0") and connection != b"keep-alive"
    )
    if headers.get(b"transfer-encoding") == b"chunked":
        body = _chunks(reader)
    elif b"content-length" in headers:
        body = reader.exactly(int(headers[b"content-length"]))
    else:
        body, closes = reader.rest(), True
    return Answer(status_line, body, reader.size, closes)


def _chunks(reader: _Reader) -> bytes:
    body = b""
    while size := int(reader.line().partition(b";")[0], 16):
        body += reader.exactly(size)
        reader.exactly(len(CRLF))
    while reader.line():  # trailers, up to the empty line
        pass
    return body
