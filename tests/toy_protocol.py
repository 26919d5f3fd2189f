"""A toy protocol, as simple as HTTP/2 is not: several requests in flight on one connection.

A client sends lines ``<id> <method> <path>``. The answer to each is a series of frames
``<id> <kind> <size>`` with ``size`` bytes behind the line: ``interim`` and ``head`` (a status and
lines of fields), ``data``, ``end`` (lines of trailers), or ``cut`` for a response that was cut off.
Frames of different answers may be mixed.
"""

import asyncio
from collections import defaultdict
from typing import cast

from prefork.http.connection_cache import ConnectionCache
from prefork.http.exchange import Exchange
from prefork.http.flow_control import FlowControl
from prefork.http.peer import Addresses, Peer
from prefork.http.request import ParsedHead
from prefork.http.server_state import ServerState
from prefork.http.transport import reset


class ToySink:
    """The ResponseSink of one request."""

    def __init__(self, connection: "ToyConnection", number: bytes) -> None:
        self._transport = connection.transport
        self.flow = connection.flow
        self._number = number

    def send_frame(self, kind: bytes, data: bytes = b"") -> None:
        self._transport.write(b"%b %b %d\n%b" % (self._number, kind, len(data), data))

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def send_interim(self, status: int, lines: bytes) -> None:
        self.send_frame(b"interim", b"%d\r\n%b" % (status, lines))

    def send_usual(
        self, _exchange: Exchange, _line: bytes, _fields: object, _body: bytes
    ) -> bytes | None:
        return None

    def send_response(self, exchange: Exchange, head: list[bytes], body: bytes) -> None:
        self.end(exchange, head, body, b"")

    def frame_unknown_length(self, _exchange: Exchange, _head: list[bytes]) -> None:
        """Do nothing: a frame marks the end."""

    def write(self, exchange: Exchange, head: list[bytes] | None, data: bytes) -> None:
        if head is not None:
            self.send_frame(b"head", b"%d\r\n%b" % (exchange.status, b"".join(head[1:])))
        if data:
            self.send_frame(b"data", data)

    def end(
        self, exchange: Exchange, head: list[bytes] | None, data: bytes, trailers: bytes
    ) -> None:
        self.write(exchange, head, data)
        self.send_frame(b"end", trailers)

    async def send_file(self, _exchange: Exchange, _fd: int, _offset: int, _count: int) -> int:
        return 0


class ToyProtocol:
    """The entry of the table of protocols (HttpProtocol)."""

    def __init__(self, server: ServerState) -> None:
        self._server = server

    def connect(self, addresses: Addresses | None = None) -> "ToyConnection":
        return ToyConnection(self._server, addresses)


class ToyConnection(asyncio.Protocol):
    """The connection of one client, with all that the worker asks of a connection.

    A sibling cannot continue with it, because it never knows which answers the client has.
    """

    is_multiplexed = True
    movable = None
    awaits_request = awaits_reader = False
    close_requested = False
    cache: ConnectionCache | None = None
    deadline = float("inf")
    transport: asyncio.Transport
    peer: Peer

    def __init__(self, server: ServerState, addresses: Addresses | None = None) -> None:
        self.server = server
        self._addresses = addresses
        self.flow = FlowControl(server.loop, server.clock)
        self._sinks: dict[Exchange, ToySink] = {}
        self._unread = b""
        """The beginning of a line."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = self.flow.transport = cast(asyncio.Transport, transport)
        self.peer = Peer(transport, self._addresses)
        self.server.add_connection(self)
        self.server.pending_connections.add(self)

    def data_received(self, data: bytes) -> None:
        self.server.pending_connections.discard(self)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            number, method, path = line.split()
            head = ParsedHead(path, [])
            head.method = method.decode()
            sink = ToySink(self, number)
            exchange = Exchange(self, head, sink)
            exchange.request_complete = True
            self._sinks[exchange] = sink
            self.server.count_begun(exchange)
            self.server.active_connections.add(self)
            self.server.handle(exchange)

    def connection_lost(self, _error: Exception | None) -> None:
        for exchange in self.in_flight():
            exchange.disconnected = True
            self.server.handler.client_disconnected(exchange)
            self.finish_exchange(exchange)
        self.flow.end()
        self.flow.wake_writers()
        self.server.connection_closed(self)

    @property
    def is_idle(self) -> bool:
        return not self._sinks

    def in_flight(self) -> tuple[Exchange, ...]:
        return tuple(self._sinks)

    def finish_exchange(self, exchange: Exchange) -> None:
        if self._sinks.pop(exchange, None) is not None:
            self.server.count_ended(exchange)
        if self.close_requested and not self._sinks:
            self.transport.close()

    def abort_response(self, exchange: Exchange) -> None:
        self._sinks[exchange].send_frame(b"cut")

    def is_trusted(self) -> bool:
        return False

    def is_last_response(self) -> bool:
        return False

    def switch_protocol(
        self, _exchange: Exchange, _head: bytes, _protocol: asyncio.Protocol
    ) -> None:
        raise NotImplementedError

    def pause_writing(self) -> None:
        self.flow.pause()

    def resume_writing(self) -> None:
        self.flow.resume()

    def expire(self) -> None:
        """Do nothing: the connection has no deadline."""

    def close_after_response(self) -> None:
        self.close_requested = True

    def drain(self) -> None:
        self.close_requested = True
        if not self._sinks:
            self.transport.close()

    def release_if_idle(self) -> bool:
        return not self._sinks

    def abort(self) -> None:
        reset(self.transport)


Frame = tuple[bytes, bytes]


def parse_frames(data: bytes) -> tuple[list[bytes], dict[bytes, list[Frame]]]:
    """Return the numbers of answers in the order of their ends, and the frames of each."""
    ended: list[bytes] = []
    frames: dict[bytes, list[Frame]] = defaultdict(list)
    while data:
        line, _, data = data.partition(b"\n")
        number, kind, size = line.split()
        frames[number].append((kind, data[: int(size)]))
        data = data[int(size) :]
        if kind in (b"end", b"cut"):
            ended.append(number)
    return ended, frames
