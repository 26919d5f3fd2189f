"""A WebSocket in memory: the client's frames, and those of the server, read strictly (RFC 6455)."""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prefork.http.limits import Limits, WebSocketLimits
from tests.fuzz.memory import Client
from tests.live.websocket_client import (
    ACCEPT,
    CLOSE,
    COMPRESSED,
    HANDSHAKE,
    Frame,
)
from tests.pure.http.asgi_server import App, AsgiServer, Event, Receive, Send, request

HANDSHAKE_FIELDS = tuple(field.encode() for field in HANDSHAKE)
HANDSHAKE_REQUEST = request(b"/", *HANDSHAKE_FIELDS)


def websocket_limits(**settings: Any) -> Limits:
    """Return the limits with these settings of WebSockets."""
    return Limits(websocket=WebSocketLimits(**settings))


class MemoryWebSocket:
    """The client's side of an open WebSocket."""

    def __init__(self, client: Client, compresses: bool = False) -> None:
        self.client = client
        self._compresses = compresses
        head, _, rest = client.out.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n"), client.out
        assert f"Sec-WebSocket-Accept: {ACCEPT}".encode() in head.split(b"\r\n")
        self.head = head
        self._read = len(client.transport.out) - len(rest)

    def send(self, *frames: Frame) -> "MemoryWebSocket":
        """Send frames in one piece."""
        self.client.send(b"".join(frame.encode() for frame in frames))
        return self

    def read(self) -> list[Frame]:
        """Return the frames that arrived since the last call. They must be whole."""
        data = bytes(self.client.transport.out[self._read :])
        self._read += len(data)
        frames = []
        while data:
            frame, data = self._parse(data)
            frames.append(frame)
        return frames

    def _parse(self, data: bytes) -> tuple[Frame, bytes]:
        first, size = data[:2]
        assert size < 128, "a server must not mask"
        at = 2
        if size == 126:
            (size,), at = struct.unpack_from("!H", data, 2), 4
            assert size > 125, "a length that fits in one byte takes three"
        elif size == 127:
            (size,), at = struct.unpack_from("!Q", data, 2), 10
            assert size > 65535, "a length that fits in three bytes takes nine"
        assert len(data) >= at + size
        frame = Frame(first & 15, data[at : at + size], bool(first & 128), first >> 4 & 7)
        assert frame.reserved in (0, COMPRESSED if self._compresses else 0)
        if frame.opcode >= CLOSE:
            assert frame.fin
            assert size < 126
            assert not frame.reserved
        return frame, data[at + size :]

    def read_close(self) -> tuple[int | None, bytes]:
        """Return code and reason of the close frame, which is the only frame that arrived."""
        (frame,) = self.read()
        assert frame.opcode == CLOSE, frame
        if not frame.payload:
            return None, b""
        return struct.unpack("!H", frame.payload[:2])[0], frame.payload[2:]

    @property
    def is_ended(self) -> bool:
        """Return whether the server has ended the connection, properly and without a reset."""
        return self.client.closed and not self.client.was_reset


class Echo:
    """An app that accepts, sends each message back, and keeps all events."""

    def __init__(self, accept: Event | None = None) -> None:
        self._accept = accept or {}
        self.events: list[Event] = []

    async def __call__(self, _scope: Event, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept", **self._accept})
        while (event := await receive())["type"] == "websocket.receive":
            self.events.append(event)
            await send({**event, "type": "websocket.send"})
        self.events.append(event)

    @property
    def disconnect(self) -> tuple[int, str]:
        """Code and reason of the disconnect that the app got as its last event."""
        event = self.events[-1]
        assert event["type"] == "websocket.disconnect"
        return event["code"], event["reason"]


def open_websocket(
    server: AsgiServer, *fields: bytes, swallows: int | None = None, tls: object | None = None
) -> MemoryWebSocket:
    """Return an open WebSocket of a new client."""
    client = server.connect(swallows, tls)
    client.send(request(b"/", *HANDSHAKE_FIELDS, *fields))
    return MemoryWebSocket(client, b"permessage-deflate" in client.out)


@contextmanager
def websocket(
    app: App, *fields: bytes, limits: Limits | None = None
) -> Iterator[tuple[MemoryWebSocket, AsgiServer]]:
    """Serve an app to one client, and yield the client's open WebSocket with the server."""
    with AsgiServer(app, limits) as server:
        yield open_websocket(server, *fields), server


def calling(*events: Event) -> Callable[[Event, Receive, Send], Any]:
    """Return an app that sends these events, then waits for the disconnect."""

    async def app(_scope: Event, receive: Receive, send: Send) -> None:
        for event in events:
            await send(event)
        while (await receive())["type"] != "websocket.disconnect":
            pass

    return app
