"""The server side of HTTP without a kernel: real connections on a transport in memory.

Everything in prefork/http is real; only the transport and the app are test code. Whole requests of
the app are kept in ``seen``.
"""

import asyncio
import re
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

from prefork.errors import ClientGoneError
from prefork.http.exchange import Exchange
from prefork.http.forwarded import TrustedProxies
from prefork.http.http1.http1_protocol import Http1Protocol
from prefork.http.limits import Limits
from prefork.http.load import CONNECTION, Load
from prefork.http.peer import Addresses
from prefork.http.response_head import STATUS_LINES, HeaderPair, encode_field
from prefork.http.server_state import RequestHandler, ServerState
from prefork.http.spool_disk import SpoolDisk
from prefork.http.tick import TICK_PERIOD

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Seen:
    """A request as an app, or h11, understood it. Names of fields in lower case."""

    method: str
    target: bytes
    version: str
    fields: Fields
    body: bytes


class MemorySocket:
    """The socket of a MemoryTransport: SO_RCVLOWAT, SO_LINGER, and TCP_INFO with the bytes that the
    client has acknowledged."""

    family = socket.AF_INET

    def __init__(self, transport: "MemoryTransport") -> None:
        self._transport = transport

    def setsockopt(self, level: int, name: int, value: Any) -> None:
        if (level, name) == (socket.SOL_SOCKET, socket.SO_RCVLOWAT):
            self._transport.wait_for(value)
        elif (level, name) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self._transport.resets = value == struct.pack("ii", 1, 0)

    def getsockopt(self, *_: int) -> bytes:
        return struct.pack("=120xQ", self._transport.acknowledged)  # tcpi_bytes_acked (tcp(7))

    def fileno(self) -> int:
        raise OSError("there is no kernel")


class MemoryTransport(asyncio.Transport):
    """Keeps the bytes that the server writes; delivers those of the client while the server
    reads."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, swallows: int | None, tls: object | None = None
    ) -> None:
        super().__init__({"peername": ("192.0.2.1", 4711), "sockname": ("192.0.2.2", 80)})
        self._extra.update(socket=MemorySocket(self), ssl_object=tls)  # type: ignore[attr-defined]
        self._is_tls = tls is not None
        self._loop = loop
        self.enough = 1
        """Bytes that must wait before the server is woken (SO_RCVLOWAT)."""
        self._swallows = swallows
        """Bytes that the client takes before it stops reading; None: all."""
        self._inbox: deque[bytes] = deque()
        self.is_paused = False
        self.protocol: Any = None
        self.out = bytearray()
        self.acknowledged = 0
        """Bytes that the client has acknowledged."""
        self.closing = False
        self.half_closed = False
        self.resets = False
        """The end of the connection is a TCP reset, which a client cannot take for a proper end."""
        self._is_full = False
        self._is_lost = False

    # For the server.

    def write(self, data: Any) -> None:
        if self.closing or self.half_closed:
            return
        self.out += data
        if self._swallows is not None and len(self.out) > self._swallows:
            self._swallows = None
            self._is_full = True
            self.protocol.pause_writing()

    def writelines(self, pieces: Iterable[Any]) -> None:
        self.write(b"".join(pieces))

    def get_write_buffer_size(self) -> int:
        return 1 if self._is_full else 0

    def can_write_eof(self) -> bool:
        return not self._is_tls

    def write_eof(self) -> None:
        self.half_closed = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        """End the connection when the client has read everything.

        With TLS asyncio also waits for the client's close_notify, which never comes here.
        """
        self.closing = True
        if not self._is_full and not self._is_tls:
            self.abort()

    def abort(self) -> None:
        self.closing = True
        if not self._is_lost:
            self._is_lost = True
            self._loop.call_soon(self.protocol.connection_lost, None)

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False
        self._loop.call_soon(self._hand_over)

    def wait_for(self, size: int) -> None:
        self.enough = size
        self._loop.call_soon(self._hand_over)

    # For the client.

    def put(self, data: bytes) -> None:
        """Deliver bytes to the server, as the kernel does."""
        self._inbox.append(data)
        self._hand_over()

    def end(self) -> None:
        """Deliver the end of the client's bytes."""
        if not self.closing and not self.protocol.eof_received():
            self.close()

    def drain(self) -> None:
        """Have the client read everything."""
        if self._is_full:
            self._is_full = False
            self.protocol.resume_writing()
            if self.closing:
                self.close()

    def _has_enough(self) -> bool:
        return sum(map(len, self._inbox)) >= self.enough

    def _hand_over(self) -> None:
        while self._has_enough() and not self.is_paused and not self.closing:
            data = self._inbox.popleft()
            if isinstance(self.protocol, asyncio.BufferedProtocol):
                with self.protocol.get_buffer(-1) as buffer:
                    assert len(buffer), "an empty buffer is an error for asyncio"
                    size = min(len(buffer), len(data))
                    buffer[:size] = data[:size]
                if data[size:]:
                    self._inbox.appendleft(data[size:])
                self.protocol.buffer_updated(size)
            else:
                self.protocol.data_received(data)


class Client:
    """The client's side of one connection."""

    def __init__(
        self,
        server: "MemoryServer",
        swallows: int | None = None,
        tls: object | None = None,
        addresses: Addresses | None = None,
    ) -> None:
        self._server = server
        self.transport = MemoryTransport(server.loop, swallows, tls)
        self.transport.protocol = self.connection = server.protocol.connect(addresses)
        server.state.load.add(+CONNECTION)  # as the acceptor does
        server.state.load.add_expected_requests(+1)
        self.connection.connection_made(self.transport)

    def send(self, *pieces: bytes) -> "Client":
        """Send pieces, each of which arrives alone, with turns of the server's loop in between."""
        for piece in pieces:
            if piece:
                self._server.run(self.transport.put, piece)
        return self

    def finish(self) -> "Client":
        """Half-close the connection, which always wakes the server."""
        self.transport.wait_for(1)
        self._server.settle()
        self._server.run(self.transport.end)
        return self

    def leave(self) -> None:
        """Close the connection from the client's side."""
        self.transport.abort()
        self._server.settle()

    def take(self, size: int) -> "Client":
        """Acknowledge bytes, while others still wait for the client to read."""
        self.transport.acknowledged += size
        return self

    def catch_up(self) -> "Client":
        """Read everything that was sent, and keep up from now on."""
        self._server.run(self.transport.drain)
        return self

    @property
    def closed(self) -> bool:
        """Return whether the server will send nothing more."""
        return self.transport.closing or self.transport.half_closed

    @property
    def was_reset(self) -> bool:
        """Return whether the server reset the connection: no client takes it for a proper end."""
        return self.transport.closing and self.transport.resets

    @property
    def out(self) -> bytes:
        """All bytes that the server sent, without the Date."""
        lines = bytes(self.transport.out).split(b"\r\n")
        return b"\r\n".join(line for line in lines if not line.startswith(b"Date: "))

    @property
    def statuses(self) -> list[int]:
        """The statuses of all responses. No body here looks like a status line, and each ends a
        line."""
        return [int(found) for found in re.findall(rb"(?m)^HTTP/1\.1 ([0-9]{3}) ", self.out)]


class Recorder:
    """A handler (http/server_state.py) that records each whole request and answers ``ok``."""

    can_cancel = False
    upgrade = None
    has_byte_fields = False
    encode_field = staticmethod(encode_field)

    def __init__(self, streams: bool, loop: asyncio.AbstractEventLoop) -> None:
        self.streams_body = streams
        self.seen: list[Seen] = []
        self.later: list[Exchange] | None = None
        """Spooled requests that wait for ``answer``; None: they are answered at once."""
        self.overdue_ones: list[Exchange] = []
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, exchange: Exchange) -> None:
        if self.streams_body:
            task = self._loop.create_task(self._read(exchange))
            self._tasks.add(task)
            task.add_done_callback(self._done)
            return
        body: Any = exchange.body
        self._note(exchange, b"" if body is None else body.file.read())
        if self.later is not None:
            self.later.append(exchange)
        else:
            self.answer(exchange)

    def answer(
        self, exchange: Exchange, fields: Iterable[HeaderPair] = (), body: bytes = b"ok\r\n"
    ) -> None:
        exchange.respond(200, STATUS_LINES[200], fields, body)
        if not self.streams_body and exchange.body is not None:
            exchange.body.discard()

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        task.result()

    async def _read(self, exchange: Exchange) -> None:
        body: Any = exchange.body
        data, more = b"", body is not None
        try:
            while more:
                piece, more = await body.read()
                data += piece
        except ClientGoneError:
            exchange.fail()
            return
        self._note(exchange, data)
        if not exchange.disconnected:
            self.answer(exchange)

    def _note(self, exchange: Exchange, body: bytes) -> None:
        head = exchange.request
        fields = tuple(
            (name, value.lower() if name == b"transfer-encoding" else value)
            for name, value in head.headers
        )
        self.seen.append(Seen(head.method, head.target, head.version, fields, body))

    async def wait_for_calls(self) -> None:
        """Return at once: no call goes on."""

    def time_out(self, exchange: Exchange) -> None:
        self.overdue_ones.append(exchange)

    def client_disconnected(self, exchange: Exchange) -> None:
        """Do nothing: the body of the request ends, too."""


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still unless the test lets time pass."""

    ahead = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[BaseException] = []
        """Exceptions of callbacks, which asyncio would only log."""
        self.set_exception_handler(lambda _, context: self.errors.append(context["exception"]))

    def time(self) -> float:
        return 1000.0 + self.ahead


class MemoryServer:
    """The HTTP part of one worker. ``streams``: as for ASGI, otherwise as for WSGI."""

    proxies = TrustedProxies((), (), strips=False)
    disk: SpoolDisk | None = None
    """Where bodies go for which there is no memory; None: a disk without limits."""

    def __init__(self, streams: bool, limits: Limits | None = None) -> None:
        self.loop = _Loop()
        self.recorder = Recorder(streams, self.loop)
        limits = limits or Limits()
        self.state = ServerState(
            self.loop,
            self._make_handler(),
            limits,
            self.proxies,
            Load([0], 0),
            spool=self.disk,
        )
        self.protocol = Http1Protocol(self.state)
        self.http1 = self.protocol.state

    def _make_handler(self) -> RequestHandler:
        return self.recorder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in list(self.state.connections):
            connection.transport.abort()  # type: ignore[attr-defined]
        self.settle()
        self.loop.close()

    def connect(
        self,
        swallows: int | None = None,
        tls: object | None = None,
        addresses: Addresses | None = None,
    ) -> Client:
        return Client(self, swallows, tls, addresses)

    def run(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call the server's code, and let the loop run until it has nothing to do."""
        callback(*arguments)
        self.settle()

    def settle(self) -> None:
        """Let the loop run until it has nothing to do."""
        while self.loop._ready:  # type: ignore[attr-defined]
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        if self.loop.errors:
            raise self.loop.errors.pop()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with all ticks."""
        for _ in range(round(seconds / TICK_PERIOD)):
            self.loop.ahead += TICK_PERIOD
            self.run(self.state.tick)

    def take_seen(self) -> list[Seen]:
        """Return the whole requests that the app got since the last call."""
        seen, self.recorder.seen = self.recorder.seen, []
        return seen
