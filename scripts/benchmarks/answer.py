"""One HTTP answer, parsed in full: its status, its size on the wire, whether the server closes.

The generator reads one answer this way and from then on counts bytes.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import BinaryIO

CRLF = b"\r\n"


class BadAnswerError(Exception):
    """The server's answer is not what the load asks for, or no HTTP at all."""


@dataclass(frozen=True)
class Answer:
    status_line: bytes
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


def ask(port: int, request: bytes, timeout: float = 5.0) -> Answer:
    """Sends `request` on a connection of its own and reads the one answer to it."""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as stream:
            return _read(_Reader(stream))


def _read(reader: _Reader) -> Answer:
    status_line = reader.line()
    if not status_line.startswith(b"HTTP/1."):
        raise BadAnswerError(f"not an HTTP/1 answer: {status_line[:40]!r}")
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
