"""A strict client: it sends raw bytes, and reads responses by the letter of RFC 9112.

Tests of a server need to send what no client library would send, and to notice what each library
forgives: a response that is cut off, bytes after its end, a reset where a clean end belongs.
"""

import fcntl
import os
import re
import select
import socket
import struct
import termios
import time
from dataclasses import dataclass, field
from typing import Any

from tests.live.harness import PATIENCE, Server

_STATUS = re.compile(rb"HTTP/1\.1 ([1-9][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?([\t\x20-\x7e\x80-\xff]*)")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,16})")


class CutOffError(AssertionError):
    """The connection ended in the middle of a response."""


@dataclass
class Answer:
    """One complete response."""

    status: int
    reason: str
    fields: list[tuple[str, str]]
    """Names in lower case, in the order sent."""
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        """Return the one value of a field; None when it is missing."""
        values = [value for key, value in self.fields if key == name]
        assert len(values) < 2, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        """Return whether the response says ``Connection: close``."""
        return self.get("connection") == "close"


class RawConnection:
    """One connection of the client; a context manager."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._buffer = b""

    def __enter__(self) -> "RawConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # Sending.

    def send(self, *pieces: bytes) -> "RawConnection":
        """Send all pieces in one call."""
        self.socket.sendall(b"".join(pieces))
        return self

    def send_bytewise(self, data: bytes) -> "RawConnection":
        """Send each byte alone: the next one leaves when the server has read the one before.

        Only a unix socket can tell when that is. It ends early when the server responds or closes,
        which the server may do as soon as it has seen enough.
        """
        assert self.socket.family == socket.AF_UNIX
        for index in range(len(data)):
            if not self._sent(data[index : index + 1]):
                break
        return self

    def _sent(self, piece: bytes) -> bool:
        try:
            self.socket.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            return False
        deadline = time.monotonic() + PATIENCE
        while unread(self.socket):
            if time.monotonic() > deadline:
                raise AssertionError("the server does not read on")
            os.sched_yield()
        return True

    def shut_down_writing(self) -> "RawConnection":
        """Close the sending half, and keep reading."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def reset(self) -> None:
        """Reset the connection (RST instead of FIN)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # Reading.

    def answer(self, method: str = "GET") -> Answer:
        """Read the next final response; 100 Continue is skipped. Raises CutOffError."""
        while True:
            answer = self.head()
            if answer.status >= 200:
                answer.body = self.body(answer, method)
                return answer

    def head(self) -> Answer:
        """Read the next head, also that of an interim response. Raises CutOffError."""
        first, *lines = self._until(b"\r\n\r\n")[:-4].split(b"\r\n")
        status = _STATUS.fullmatch(first)
        assert status, f"a bad status line: {first!r}"
        fields = [_field(line) for line in lines]
        answer = Answer(int(status[1]), status[2].decode("latin-1"), fields)
        if answer.status >= 200:
            assert answer.get("date"), "an answer without a Date"
        return answer

    def body(self, answer: Answer, method: str = "GET") -> bytes:
        """Read the body that belongs to a head. Raises CutOffError."""
        length, coding = answer.get("content-length"), answer.get("transfer-encoding")
        if method == "HEAD" or answer.status in (204, 304):
            return b""
        if coding is not None:
            assert coding == "chunked"
            assert length is None, "both Transfer-Encoding and Content-Length"
            return self._chunks(answer.trailers)
        if length is not None:
            return self.read_exactly(int(length))
        assert answer.closes, "the response does not say where its body ends"
        return self.read_to_end()

    def _chunks(self, trailers: list[tuple[str, str]]) -> bytes:
        body = bytearray()
        while True:
            line = self._until(b"\r\n")[:-2]
            assert _CHUNK.fullmatch(line), f"a bad chunk size: {line!r}"
            size = int(line, 16)
            if not size:
                break
            body += self.read_exactly(size)
            assert self.read_exactly(2) == b"\r\n"
        while line := self._until(b"\r\n")[:-2]:
            trailers.append(_field(line))
        return bytes(body)

    def read_exactly(self, size: int) -> bytes:
        """Read ``size`` bytes. Raises CutOffError."""
        while len(self._buffer) < size:
            self._more()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def read_and_discard(self, size: int) -> None:
        """Read ``size`` bytes and throw them away, fast. Raises CutOffError."""
        left = size - len(self._buffer)
        self._buffer = self._buffer[size:]
        buffer = memoryview(bytearray(1 << 20))
        while left > 0:
            try:
                got = self.socket.recv_into(buffer[:left])
            except ConnectionResetError:
                got = 0
            if not got:
                raise CutOffError(f"cut off {left} bytes before the end")
            left -= got

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._more()
        return self.read_exactly(self._buffer.index(mark) + len(mark))

    def _more(self) -> None:
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            raise CutOffError(f"reset after {self._buffer[:200]!r}") from None
        if not data:
            raise CutOffError(f"ended after {self._buffer[:200]!r}")
        self._buffer += data

    def read_to_end(self) -> bytes:
        """Read all bytes up to a clean end of the connection. Raises CutOffError for a reset."""
        while True:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                raise CutOffError(f"reset after {self._buffer[:200]!r}") from None
            if not data:
                data, self._buffer = self._buffer, b""
                return data
            self._buffer += data

    def ends_cleanly(self) -> bool:
        """Return whether the server ends the connection cleanly and sends nothing more before
        that."""
        return self.read_to_end() == b""

    def has_ended(self) -> bool:
        """Return whether the connection ended cleanly before another byte. Raises CutOffError."""
        if self._buffer:
            return False
        try:
            self._buffer = self.socket.recv(1 << 16)
        except ConnectionResetError:
            raise CutOffError("reset between two answers") from None
        return not self._buffer

    def is_cut(self) -> bool:
        """Return whether the connection ends, cleanly or not, before a response is complete."""
        try:
            self.answer()
        except CutOffError:
            return True
        return False

    def is_readable(self, within: float) -> bool:
        """Return whether there is something to read, at the latest after ``within`` seconds."""
        return bool(self._buffer or select.select([self.socket], [], [], within)[0])


def _field(line: bytes) -> tuple[str, str]:
    parts = _FIELD.fullmatch(line)
    assert parts, f"a bad header line: {line!r}"
    return parts[1].decode().lower(), parts[2].decode("latin-1")


def unread(sock: socket.socket) -> int:
    """Return the bytes sent that the peer has not read (unix), or that its kernel has not
    acknowledged (TCP)."""
    return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))[0])


def tcp(server: Server, receive_buffer: int = 0) -> RawConnection:
    """Connect by TCP; with a small ``receive_buffer`` the client cannot take much that it does not
    read."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", server.port))
    return RawConnection(sock)


def unix(path: Any) -> RawConnection:
    """Connect to a unix socket."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE)
    sock.connect(str(path))
    return RawConnection(sock)


def get(target: str, *fields: str, version: str = "1.1", method: str = "GET") -> bytes:
    """Return the bytes of a request without a body."""
    lines = [f"{method} {target} HTTP/{version}", "Host: test", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(target: str, body: bytes, *fields: str, version: str = "1.1") -> bytes:
    """Return the bytes of a request with a body of known length."""
    length = f"Content-Length: {len(body)}"
    return get(target, length, *fields, version=version, method="POST") + body


def chunked(*pieces: bytes) -> bytes:
    """Return a chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def ask(server: Server, request: bytes, method: str = "GET") -> Answer:
    """Send one request on a connection of its own and return its response."""
    with tcp(server) as wire:
        return wire.send(request).answer(method)
