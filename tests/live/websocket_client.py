"""A WebSocket client that sends raw frames and reads strictly (RFC 6455 section 5).

It can send what no library would: reserved bits, unknown opcodes, lengths that are longer than
needed, frames without a mask. The frames that it reads must use the shortest form of the length, as
the RFC wants it.
"""

import struct
from dataclasses import dataclass

from tests.live.harness import Server
from tests.live.raw_client import Answer, RawConnection, get, tcp

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The key of RFC 6455 section 1.3, and the answer to it."""

HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
)

COMPRESSED = 0b100
"""The bit RSV1, which marks a compressed message when the handshake agreed on RFC 7692."""

_MASK = b"\x37\xfa\x21\x3d"


@dataclass(frozen=True)
class Frame:
    """One frame, unmasked."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    reserved: int = 0

    def encode(self, mask: bytes = _MASK) -> bytes:
        """Return the bytes of the frame as a client sends it; without a mask it is invalid."""
        first = self.fin << 7 | self.reserved << 4 | self.opcode
        size, masked = len(self.payload), 0x80 if mask else 0
        if size < 126:
            head = struct.pack("!BB", first, masked | size)
        elif size < 65536:
            head = struct.pack("!BBH", first, masked | 126, size)
        else:
            head = struct.pack("!BBQ", first, masked | 127, size)
        return head + mask + (xor(self.payload, mask) if mask else self.payload)


def xor(data: bytes, mask: bytes) -> bytes:
    """Mask or unmask data (RFC 6455 section 5.3)."""
    long = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data) ^ int.from_bytes(long)).to_bytes(len(data))


def close_frame(code: int | None = None, reason: bytes = b"") -> Frame:
    """Return a close frame, with a code or without."""
    return Frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


class WebSocketConnection(RawConnection):
    """A connection that was upgraded to WebSocket, or will be."""

    compresses = False

    def request_handshake(self, target: str, *fields: str) -> Answer:
        """Send a handshake and return the head of the response."""
        self.send(get(target, *HANDSHAKE, *fields))
        return self.head()

    def send_frames(self, *frames: Frame) -> "WebSocketConnection":
        """Send all frames in one call."""
        self.send(*(frame.encode() for frame in frames))
        return self

    def send_frames_in_pieces(self, size: int, *frames: Frame) -> "WebSocketConnection":
        """Send the frames in pieces of ``size`` bytes."""
        data = b"".join(frame.encode() for frame in frames)
        for start in range(0, len(data), size):
            self.send(data[start : start + size])
        return self

    def read_frame(self) -> Frame:
        """Read the next frame. Raises CutOffError."""
        first, size = self.read_exactly(2)
        assert size < 128, "a server must not mask"
        if size == 126:
            (size,) = struct.unpack("!H", self.read_exactly(2))
            assert size > 125, "a length that fits in one byte takes three"
        elif size == 127:
            (size,) = struct.unpack("!Q", self.read_exactly(8))
            assert size > 65535, "a length that fits in three bytes takes nine"
        frame = Frame(first & 15, self.read_exactly(size), bool(first & 128), first >> 4 & 7)
        assert frame.opcode in (CONT, TEXT, BINARY, CLOSE, PING, PONG)
        assert frame.reserved in (0, COMPRESSED if self.compresses else 0)
        if frame.opcode >= CLOSE:
            assert frame.fin
            assert size < 126
            assert not frame.reserved
        return frame

    def read_close(self) -> tuple[int | None, bytes]:
        """Read a close frame and return its code and reason. Only pings may come before it: on a
        busy machine one may be due first."""
        frame = self.read_frame()
        while frame.opcode == PING:
            frame = self.read_frame()
        assert frame.opcode == CLOSE, frame
        if not frame.payload:
            return None, b""
        return struct.unpack("!H", frame.payload[:2])[0], frame.payload[2:]

    def is_closed_with(self, code: int) -> bool:
        """Return whether the server closes with this code and then ends the connection by
        itself."""
        assert self.read_close()[0] == code
        return self.ends_cleanly()


def connect_websocket(server: Server, target: str = "/echo", *fields: str) -> WebSocketConnection:
    """Return an open WebSocket connection."""
    wire = WebSocketConnection(tcp(server).socket)
    answer = wire.request_handshake(target, *fields)
    assert (answer.status, answer.get("sec-websocket-accept")) == (101, ACCEPT), answer
    return wire
