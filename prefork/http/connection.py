"""One client: its pipeline of requests, and its one deadline.

Bytes go to the reader, which makes Exchanges of them. Requests are answered one at a time and in
order; while one waits behind another, reading stops. What is refused, validation.py decides; how,
is
decided here. After a refusal nothing more is read from the client: the answer is sent, the
connection half-closed, and the rest discarded for a moment, because closing with unread bytes
would reset the connection and destroy the answer (RFC 9112 section 9.6). Its phases, and the ways
in which it ends, are in channel.py.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from prefork.errors import ClientError
from prefork.http import response_head
from prefork.http.bulk_receiver import BulkReceiver
from prefork.http.channel import (
    CLOSING,
    IDLE,
    NEVER,
    NEW,
    PROCESSING,
    READING_BODY,
    READING_HEAD,
    SENDING,
)
from prefork.http.exchange import Exchange
from prefork.http.load import REQUEST
from prefork.http.peer import Addresses, Peer
from prefork.http.pipeline import ALL_FRAMING, Pipeline
from prefork.http.request import MAX_CACHED_HEAD_SIZE, RequestHead
from prefork.http.trailing_data import TrailingDataReader

if TYPE_CHECKING:
    from prefork.http.server_state import ServerState


class Connection(Pipeline):
    """The asyncio protocol of one accepted connection."""

    __slots__ = (
        "_told",
        "close_requested",
        "handler_state",
        "trusted",
    )

    def __init__(self, service: "ServerState", told: Addresses | None = None) -> None:
        """``told``: what a proxy said about it."""
        super().__init__(service)
        self.trusted: bool | None = None
        """Whether what this client says of others counts; None: nobody asked yet."""
        self.handler_state: Any = None
        """Whatever the handler keeps for all requests of this client."""
        self.close_requested = False
        """The connection ends with the last answer that is due."""
        self._told = told

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the transport is ready."""
        self.transport = cast(asyncio.Transport, transport)
        service, self.peer = self.server, Peer(transport, self._told)
        self.deadline = service.head_deadline
        service.add_connection(self)
        service.pending_connections.add(self)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        reader, service = self._reader, self.server
        at_rest, size = reader.at_rest, len(data)
        if at_rest and self.phase <= IDLE:
            # Nothing is under way: bytes that are known mean what they meant.
            known = service.head_cache.get(data) if size <= MAX_CACHED_HEAD_SIZE else None
            exchange = Exchange(self, known) if known else service.request_cache.lookup(self, data)
            if exchange is not None:
                exchange.request_complete = True
                self._begin(exchange, service.handle)
                return
        if self.phase == NEW:
            self.phase = READING_HEAD
            service.pending_connections.discard(self)
            self.data_received(data)
            return
        if self.phase == CLOSING or self._refusal is not None:
            return
        if size > self.bite or self._unread is not None:
            self._read_in_bites(data)
        else:
            self._read(data, at_rest)
        reader = self._reader
        if self._waiting and self.current is None:
            self._next()
        under_way = reader.size or not reader.at_rest
        if under_way and self._refusal is None and self.phase != CLOSING:
            self._arrived_in_part()

    def _read(self, data: bytes | memoryview, memorable: bool) -> None:
        service, reader = self.server, self._reader
        if reader is service.idle_reader:
            reader = self._reader = service.lend_reader(self)
        try:
            last = reader.read(data)
        except ClientError as error:
            self.refuse(error)
            return
        if last is not None:
            self._drop_reader()
            self._reader = TrailingDataReader(self, last)
            self.enqueue(last)
        elif memorable and (response_head := reader.single()) is not None:
            service.request_cache.add(bytes(data), response_head)

    def eof_received(self) -> bool:
        """asyncio: the client sent its last byte; True keeps the other direction open.

        A half-closed client still gets what it asked for. An app that streams rather wants to
        know that nobody listens any more, which is what this mostly means. TLS has no half here.
        """
        if (
            self.peer.tls is not None
            or self.server.handler.streams_body
            or self._reader.incoming is not None
            or (self.current is None and not self._waiting)
        ):
            return False
        self.close_requested = True
        return self.phase != CLOSING

    def connection_lost(self, _error: Exception | None) -> None:
        """asyncio: the connection is gone, whoever ended it."""
        service, reader = self.server, self._reader
        self.release_if_idle()
        self.phase, self.deadline = CLOSING, NEVER
        for exchange in (self.current, reader.incoming, *self._waiting):
            if exchange is not None and not exchange.disconnected:
                exchange.disconnected = True
                # One that is whole and being answered is the app's, perhaps in a thread.
                handed = exchange is self.current and exchange.request_complete
                if exchange.body is not None and not handed:
                    exchange.body.discard()
        if self.current is not None:
            service.handler.client_disconnected(self.current)
            service.count_unfinished(self.current)
            self.current = None
        self._wake_writers()
        self._waiting.clear()
        self._unread = None
        self._drop_reader()
        service.connection_closed(self)

    def is_trusted(self) -> bool:
        """Whether the client is a proxy whose word counts."""
        if self.trusted is None:
            self.trusted = self.peer.host in self.server.proxies
        return self.trusted

    # The pipeline.

    def body_received(self) -> None:
        """The body that the app is reading is complete."""
        if self.phase == READING_BODY:
            self.phase, self.deadline = PROCESSING, NEVER

    def _begin(self, exchange: Exchange, handle: Callable[[Exchange], None]) -> None:
        self.current = exchange
        service = self.server
        load = service.load
        load.words[load.index] = load.word = load.word + REQUEST  # may wake the clock
        exchange.app_called_at, exchange.started_at = service.now, monotonic()
        self.phase = PROCESSING
        handle(exchange)
        if self.current is not None:
            service.active_connections.add(self)

    def _answer_ourselves(self, exchange: Exchange) -> None:
        """Its turn came, but the app does not get it."""
        self.current, self.phase = exchange, PROCESSING
        exchange.started_at = monotonic()
        self.server.load.add(+REQUEST)

    def switch_protocol(self, exchange: Exchange, protocol: asyncio.Protocol) -> None:
        """101 was sent: the transport goes to another protocol, and this one's work is done."""
        exchange.response_complete = True
        self.close_requested = False
        self.finish_exchange(exchange)
        self.phase = CLOSING
        self.server.remove_connection(self)
        self._drop_reader()
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if self._pauses:
            self.resume_reading()
        if exchange.trailing_data:
            protocol.data_received(exchange.trailing_data)

    def finish_exchange(self, exchange: Exchange) -> None:
        """The exchange was answered; go on with the next request, or close."""
        if exchange is not self.current:
            return
        service = self.server
        load = service.load
        load.words[load.index] = load.word = load.word - REQUEST
        service.response_times[exchange.status].append(monotonic() - exchange.started_at)
        service.body_bytes_sent += exchange.body_bytes_sent
        if service.log_access is not None:
            service.log_access(exchange)
        self.current = None
        service.requests = requests = service.requests + 1
        if requests >= service.mark:
            service.reached(self)
        if not exchange.keep_alive:
            # Requests that wait will not be answered; their client may still be sending.
            self._close(gently=not exchange.request_complete or len(self._waiting) > 0)
        elif (
            self._waiting
            or self._refusal is not None
            or self.close_requested
            or self._reader.incoming is not None
            or not self.is_writable
        ):
            self._go_on()
        else:
            self.phase = IDLE
            self.deadline = service.idle_deadline

    def _go_on(self) -> None:
        """Between two requests, when there is more to do than to wait for the next.

        Not before the client has read enough of the last answer: one that sends requests and
        reads nothing would fill the memory with answers.
        """
        if not self.is_writable:
            return
        if self._waiting:
            self.server.call_soon(self._next)
        elif self._refusal is not None:
            self._answer_refusal()
        else:
            self._idle()

    def _idle(self) -> None:
        service = self.server
        self.phase = IDLE
        self.deadline = service.idle_deadline
        if service.draining:
            self.drain()
        elif self.close_requested:
            self._close(gently=False)
            return
        if self._reader.incoming is not None:
            self.phase, self.deadline = READING_BODY, service.body_deadline
            self.send_continue(self._reader.incoming)

    def release_if_idle(self) -> bool:
        """Whether it idles, and holds nothing; what only a request needs is given back."""
        if self.phase != IDLE or self.current is not None:
            return False
        self.handler_state = None
        reader = self._reader
        if reader is not self.server.idle_reader:
            if not reader.at_rest or reader.size:
                return False
            self._reader = self.server.idle_reader
            self.server.take_reader_back(reader)
        return True

    def _drop_reader(self) -> None:
        reader, self._reader = self._reader, self.server.idle_reader
        if reader is not self._reader:
            reader.close()

    def _next(self) -> None:
        if self._waiting and self.current is None and self.is_writable and self.phase != CLOSING:
            exchange = self._first_waiting()
            if self._held and not self._waiting:
                self._held = False
                self.resume_reading()
            service = self.server
            self._begin(
                exchange, service.handle if exchange.trailing_data is None else service.upgrade
            )

    def is_last_response(self) -> bool:
        """Whether the connection is to end with the answer that is being made."""
        return self.close_requested and not self._waiting

    # Reading, refusing, closing.

    def resume_reading(self) -> None:
        """Undo one pause; nobody is too slow for what was not read."""
        if self._pauses == 1:
            self._reader.arrival.restart()
        super().resume_reading()

    def _stir(self) -> None:
        self.server.active_connections.add(self)

    def _caught_up(self) -> None:
        if self.current is None:
            self._go_on()

    def send_continue(self, exchange: Exchange) -> None:
        """Send 100 Continue if this request's client waits for it and no answer has begun."""
        first = self.current or (self._waiting[0] if self._waiting else exchange)
        if exchange is first and exchange.expects_continue and not exchange.status:
            exchange.expects_continue = False
            self.transport.write(response_head.CONTINUE_RESPONSE)

    def _arrived_in_part(self) -> None:
        """A request is under way but not whole."""
        service, reader = self.server, self._reader
        service.active_connections.add(self)
        if len(reader.target) > service.limits.line:
            self.refuse(ClientError(414, "the request target is too long"))
        elif reader.size > service.limits.header_size + service.limits.line:
            self.refuse(ClientError(431, "the request is all head and no body"))
        elif reader.incoming is None:
            if self.current is None and self.phase != READING_HEAD:
                self.phase, self.deadline = READING_HEAD, service.head_deadline
        elif reader.arrival.wastes(reader.chunk):
            self.refuse(ClientError(400, ALL_FRAMING))
        elif self.phase != SENDING:
            self.phase, self.deadline = READING_BODY, reader.arrival.deadline()
            left = reader.left()
            if (
                left > service.bulk_receivers.min_size
                and self.current is None
                and not self._waiting
            ):
                BulkReceiver(self, reader, reader.incoming, left).begin()

    def bulk_body_received(self) -> None:
        """An intake has the rest of the body that was due."""
        self._reader.finish()
        self._next()

    def refuse(self, error: ClientError) -> None:
        """Answer ``error`` once all earlier requests are answered, then close."""
        self._refusal = error
        broken = self._reader.incoming
        if broken is not None and broken is self.current:
            self._cut_short(broken)
            return
        if broken is not None and broken in self._waiting:
            self._waiting.remove(broken)
        if self.current is None and not self._waiting:
            self._answer_refusal()

    def _cut_short(self, exchange: Exchange) -> None:
        """The body of the request that the app is reading is broken: the app sees a disconnect."""
        if exchange.body is not None:
            exchange.body.discard()
        if not exchange.headers_sent:
            self._answer_refusal()
        else:
            self.abort()

    def _answer_refusal(self) -> None:
        error = self._refusal
        assert error is not None
        if self.current is None:
            broken = self._reader.incoming
            self._answer_ourselves(broken or Exchange(self, RequestHead(self._reader.target, [])))
        exchange = self.current
        assert exchange is not None
        exchange.keep_alive = exchange.request_complete = False
        exchange.send_error(
            error.status, str(error), (response_head.RETRY_AFTER,) if error.status == 503 else ()
        )
        exchange.disconnected = True  # whatever the app still sends has nowhere to go
        if exchange.body is not None:
            exchange.body.discard()

    def drain(self) -> None:
        """The worker drains: an idle connection gets ``linger`` since its last sign of life."""
        limits = self.server.limits
        self.close_requested = True
        if self.phase == IDLE:
            quiet_since = self.deadline - limits.keepalive
        elif self.phase == NEW:
            quiet_since = self.deadline - limits.header_timeout
        else:
            return
        self.deadline = min(self.deadline, quiet_since + limits.linger)

    def expire(self) -> None:
        """The deadline passed: act as the table says."""
        if self.phase == CLOSING:
            self._part()
        elif self.phase == SENDING:
            self._expire_writing()
        elif self.phase in (NEW, IDLE):
            self._expire_idle()
        elif self.phase == READING_BODY and self._pauses:
            self.deadline = self.server.body_deadline  # it is the app that does not read
        elif self.phase in (READING_HEAD, READING_BODY):
            self.refuse(ClientError(408, "the request took too long to arrive"))
