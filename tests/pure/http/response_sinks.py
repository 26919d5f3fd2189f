"""A response as a client sees it: on a sink in memory, on HTTP/1.1, and on a toy protocol."""

from dataclasses import dataclass, field
from typing import Any

import h11

from prefork.http.connection_cache import ConnectionCache
from prefork.http.exchange import Exchange
from prefork.http.flow_control import FlowControl
from prefork.http.peer import Peer
from prefork.http.request import ParsedHead
from tests.fuzz.memory import MemoryServer, MemoryTransport
from tests.toy_protocol import ToyConnection, parse_frames

Fields = list[tuple[bytes, bytes]]

FRAMING = {b"connection", b"transfer-encoding", b"date"}
"""Names of fields that differ between framings, or from second to second."""


@dataclass
class Outcome:
    """One response as a client sees it. Names of fields in lower case."""

    interim: list[tuple[int, Fields]] = field(default_factory=list)
    status: int = 0
    """0: no head has arrived."""
    fields: Fields = field(default_factory=list)
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    is_complete: bool = False
    is_cut_off: bool = False


def parse_lines(lines: bytes) -> Fields:
    pairs = (line.partition(b": ") for line in lines.split(b"\r\n") if line)
    return [(name.lower(), value) for name, _, value in pairs if name.lower() not in FRAMING]


class MemorySink:
    """Keeps one response as it was meant, without bytes of any protocol."""

    def __init__(self, flow: FlowControl) -> None:
        self.flow = flow
        self.outcome = Outcome()
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def send_interim(self, status: int, lines: bytes) -> None:
        self.outcome.interim.append((status, parse_lines(lines)))

    def send_usual(
        self, _exchange: Exchange, _line: bytes, _fields: object, _body: bytes
    ) -> bytes | None:
        return None

    def send_response(self, exchange: Exchange, head: list[bytes], body: bytes) -> None:
        self.end(exchange, head, body, b"")

    def frame_unknown_length(self, _exchange: Exchange, _head: list[bytes]) -> None:
        """Do nothing: the end is a call."""

    def write(self, exchange: Exchange, head: list[bytes] | None, data: bytes) -> None:
        if head is not None:
            self.outcome.status = exchange.status
            self.outcome.fields = parse_lines(b"".join(head[1:]))
        self.outcome.body += data

    def end(
        self, exchange: Exchange, head: list[bytes] | None, data: bytes, trailers: bytes
    ) -> None:
        self.write(exchange, head, data)
        self.outcome.trailers = parse_lines(trailers)
        self.outcome.is_complete = True

    async def send_file(self, _exchange: Exchange, _fd: int, _offset: int, _count: int) -> int:
        return 0


class MemoryConnection:
    """A connection on which one request is answered through a MemorySink."""

    close_requested = is_multiplexed = False
    cache: ConnectionCache | None = None

    def __init__(self, server: MemoryServer, head: ParsedHead) -> None:
        self.server = server.state
        transport = MemoryTransport(server.loop, None)
        self.peer = Peer(transport)
        self.flow = FlowControl(server.loop, server.state.clock)
        self.flow.transport = transport
        self.sink = MemorySink(self.flow)
        self.exchange = Exchange(self, head, self.sink)  # type: ignore[arg-type]
        self.exchange.request_complete = True
        self.finished: list[Exchange] = []

    def is_trusted(self) -> bool:
        return False

    def is_last_response(self) -> bool:
        return False

    def abort_response(self, _exchange: Exchange) -> None:
        self.sink.outcome.is_cut_off = self.sink.closing = True

    def finish_exchange(self, exchange: Exchange) -> None:
        self.finished.append(exchange)


class OnMemorySink:
    """A request that is answered through a MemorySink."""

    def __init__(self, server: MemoryServer, method: str) -> None:
        head = ParsedHead(b"/", [])
        head.method = method
        self._connection = MemoryConnection(server, head)
        self.exchange = self._connection.exchange

    def pause(self) -> None:
        """Have the client read nothing for now."""
        self._connection.flow.pause()

    def resume(self) -> None:
        """Have the client read again."""
        self._connection.flow.resume()

    def leave(self) -> None:
        """Disconnect the client, of which the loop has not told the exchange yet."""
        self._connection.sink.closing = True

    @property
    def finished(self) -> int:
        """How often the connection was told that the exchange has ended."""
        return len(self._connection.finished)

    @property
    def outcome(self) -> Outcome:
        """The response as far as the client has seen it."""
        return self._connection.sink.outcome


class OnHttp1:
    """A request that is answered through a connection of HTTP/1.1; its client is h11."""

    def __init__(self, server: MemoryServer, method: str) -> None:
        server.recorder.later = []
        self._server, self._method = server, method
        self._client = server.connect().send(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        (self.exchange,) = server.recorder.later

    def pause(self) -> None:
        """Have the client read nothing for now."""
        self._client.connection.pause_writing()

    def resume(self) -> None:
        """Have the client read again."""
        self._client.connection.resume_writing()

    def leave(self) -> None:
        """Disconnect the client, of which the loop has not told the exchange yet."""
        self._client.transport.close()

    @property
    def finished(self) -> int:
        """How often the connection was told that the exchange has ended."""
        return self._server.state.counters.requests

    @property
    def outcome(self) -> Outcome:
        """The response as far as the client has seen it."""
        parser, seen = h11.Connection(h11.CLIENT), Outcome()
        parser.send(h11.Request(method=self._method, target="/", headers=[("Host", "a")]))
        parser.send(h11.EndOfMessage())
        if self._client.transport.out:  # no bytes would mean the end of the connection
            parser.receive_data(bytes(self._client.transport.out))
        while (event := parser.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            match event:
                case h11.InformationalResponse():
                    seen.interim.append((event.status_code, _kept(event.headers)))
                case h11.Response():
                    seen.status, seen.fields = event.status_code, _kept(event.headers)
                case h11.Data():
                    seen.body += bytes(event.data)
                case h11.EndOfMessage():
                    seen.trailers, seen.is_complete = _kept(event.headers), True
                    break
        seen.is_cut_off = self._client.transport.closing and not seen.is_complete
        return seen


def _kept(headers: Any) -> Fields:
    return [(name, value) for name, value in headers if name not in FRAMING]


class OnToyProtocol:
    """A request that is answered through a connection of the toy protocol."""

    def __init__(self, server: MemoryServer, method: str) -> None:
        server.recorder.later = []
        self._server = server
        self._transport = MemoryTransport(server.loop, None)
        self._transport.protocol = self._connection = ToyConnection(server.state)
        server.state.load.add_connection()
        self._connection.connection_made(self._transport)
        self._transport.put(b"1 %b /\n" % method.encode())
        (self.exchange,) = server.recorder.later

    def pause(self) -> None:
        """Have the client read nothing for now."""
        self._connection.pause_writing()

    def resume(self) -> None:
        """Have the client read again."""
        self._connection.resume_writing()

    def leave(self) -> None:
        """Disconnect the client, of which the loop has not told the exchange yet."""
        self._transport.close()

    @property
    def finished(self) -> int:
        """How often the connection was told that the exchange has ended."""
        return self._server.state.counters.requests

    @property
    def outcome(self) -> Outcome:
        """The response as far as the client has seen it."""
        seen = Outcome()
        for kind, data in parse_frames(bytes(self._transport.out))[1][b"1"]:
            if kind in (b"interim", b"head"):
                status, _, lines = data.partition(b"\r\n")
                if kind == b"interim":
                    seen.interim.append((int(status), parse_lines(lines)))
                else:
                    seen.status, seen.fields = int(status), parse_lines(lines)
            elif kind == b"data":
                seen.body += data
            elif kind == b"end":
                seen.trailers, seen.is_complete = parse_lines(data), True
            else:
                seen.is_cut_off = True
        return seen
