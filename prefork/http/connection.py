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
from prefork.http.base_connection import (
    CLOSING,
    IDLE,
    NEVER,
    NEW,
    PROCESSING,
    READING_BODY,
    READING_HEAD,
    SENDING,
)
from prefork.http.bulk_receiver import BulkReceiver
from prefork.http.exchange import Exchange
from prefork.http.load import REQUEST
from prefork.http.peer import Addresses, Peer
from prefork.http.pipeline import MOSTLY_FRAMING, Pipeline
from prefork.http.request import MAX_CACHED_HEAD_SIZE, RequestHead
from prefork.http.trailing_data import TrailingDataReader

if TYPE_CHECKING:
    from prefork.http.server_state import ServerState


class Connection(Pipeline):
    """The asyncio protocol of one accepted connection."""

    __slots__ = (
        "_addresses",
        "_is_trusted",
        "close_requested",
        "handler_state",
    )

    def __init__(self, server: "ServerState", addresses: Addresses | None = None) -> None:
        """``told``: what a proxy said about it."""
        super().__init__(server)
        self._is_trusted: bool | None = None
        """Whether what this client says of others counts; None: nobody asked yet."""
        self.handler_state: Any = None
        """Whatever the handler keeps for all requests of this client."""
        self.close_requested = False
        """The connection ends with the last answer that is due."""
        self._addresses = addresses

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the transport is ready."""
        self.transport = cast(asyncio.Transport, transport)
        server, self.peer = self.server, Peer(transport, self._addresses)
        self.deadline = server.head_deadline
        server.add_connection(self)
        server.pending_connections.add(self)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        reader, server = self._reader, self.server
        is_between, size = reader.is_between_requests, len(data)
        if is_between and self.phase <= IDLE:
            # Nothing is under way: bytes that are known mean what they meant.
            known = server.head_cache.get(data) if size <= MAX_CACHED_HEAD_SIZE else None
            exchange = Exchange(self, known) if known else server.request_cache.lookup(self, data)
            if exchange is not None:
                exchange.request_complete = True
                self._start_exchange(exchange, server.handle)
                return
        if self.phase == NEW:
            self.phase = READING_HEAD
            server.pending_connections.discard(self)
            self.data_received(data)
            return
        if self.phase == CLOSING or self._refusal is not None:
            return
        if size > self.slice_size or self._unparsed is not None:
            self._parse_in_slices(data)
        else:
            self._parse(data, is_between)
        reader = self._reader
        if self._waiting and self.current is None:
            self._start_next()
        is_partial = reader.size or not reader.is_between_requests
        if is_partial and self._refusal is None and self.phase != CLOSING:
            self._on_partial_request()

    def _parse(self, data: bytes | memoryview, is_cacheable: bool) -> None:
        server, reader = self.server, self._reader
        if reader is server.idle_reader:
            reader = self._reader = server.lend_reader(self)
        try:
            last = reader.read(data)
        except ClientError as error:
            self.refuse(error)
            return
        if last is not None:
            self._close_reader()
            self._reader = TrailingDataReader(self, last)
            self.enqueue(last)
        elif is_cacheable and (response_head := reader.cacheable_head()) is not None:
            server.request_cache.add(bytes(data), response_head)

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
        server, reader = self.server, self._reader
        self.release_if_idle()
        self.phase, self.deadline = CLOSING, NEVER
        for exchange in (self.current, reader.incoming, *self._waiting):
            if exchange is not None and not exchange.disconnected:
                exchange.disconnected = True
                # One that is whole and being answered is the app's, perhaps in a thread.
                belongs_to_app = exchange is self.current and exchange.request_complete
                if exchange.body is not None and not belongs_to_app:
                    exchange.body.discard()
        if self.current is not None:
            server.handler.client_disconnected(self.current)
            server.count_unfinished(self.current)
            self.current = None
        self._wake_writers()
        self._waiting.clear()
        self._unparsed = None
        self._close_reader()
        server.connection_closed(self)

    def is_trusted(self) -> bool:
        """Whether the client is a proxy whose word counts."""
        if self._is_trusted is None:
            self._is_trusted = self.peer.host in self.server.proxies
        return self._is_trusted

    # The pipeline.

    def body_received(self) -> None:
        """The body that the app is reading is complete."""
        if self.phase == READING_BODY:
            self.phase, self.deadline = PROCESSING, NEVER

    def _start_exchange(self, exchange: Exchange, handle: Callable[[Exchange], None]) -> None:
        self.current = exchange
        server = self.server
        load = server.load
        load.words[load.index] = load.word = load.word + REQUEST  # may wake the clock
        exchange.app_called_at, exchange.started_at = server.now, monotonic()
        self.phase = PROCESSING
        handle(exchange)
        if self.current is not None:
            server.active_connections.add(self)

    def _start_without_app(self, exchange: Exchange) -> None:
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
        self._close_reader()
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if self._read_pauses:
            self.resume_reading()
        if exchange.trailing_data:
            protocol.data_received(exchange.trailing_data)

    def finish_exchange(self, exchange: Exchange) -> None:
        """The exchange was answered; go on with the next request, or close."""
        if exchange is not self.current:
            return
        server = self.server
        load = server.load
        load.words[load.index] = load.word = load.word - REQUEST
        server.response_times[exchange.status].append(monotonic() - exchange.started_at)
        server.body_bytes_sent += exchange.body_bytes_sent
        if server.log_access is not None:
            server.log_access(exchange)
        self.current = None
        server.requests = requests = server.requests + 1
        if requests >= server.next_callback_at:
            server.run_callbacks(self)
        if not exchange.keep_alive:
            # Requests that wait will not be answered; their client may still be sending.
            self._close(lingering=not exchange.request_complete or len(self._waiting) > 0)
        elif (
            self._waiting
            or self._refusal is not None
            or self.close_requested
            or self._reader.incoming is not None
            or not self.is_writable
        ):
            self._continue()
        else:
            self.phase = IDLE
            self.deadline = server.idle_deadline

    def _continue(self) -> None:
        """Between two requests, when there is more to do than to wait for the next.

        Not before the client has read enough of the last answer: one that sends requests and
        reads nothing would fill the memory with answers.
        """
        if not self.is_writable:
            return
        if self._waiting:
            self.server.call_soon(self._start_next)
        elif self._refusal is not None:
            self._send_refusal()
        else:
            self._become_idle()

    def _become_idle(self) -> None:
        server = self.server
        self.phase = IDLE
        self.deadline = server.idle_deadline
        if server.draining:
            self.drain()
        elif self.close_requested:
            self._close(lingering=False)
            return
        if self._reader.incoming is not None:
            self.phase, self.deadline = READING_BODY, server.body_deadline
            self.send_continue(self._reader.incoming)

    def release_if_idle(self) -> bool:
        """Whether it idles, and holds nothing; what only a request needs is given back."""
        if self.phase != IDLE or self.current is not None:
            return False
        self.handler_state = None
        reader = self._reader
        if reader is not self.server.idle_reader:
            if not reader.is_between_requests or reader.size:
                return False
            self._reader = self.server.idle_reader
            self.server.take_reader_back(reader)
        return True

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, self.server.idle_reader
        if reader is not self._reader:
            reader.close()

    def _start_next(self) -> None:
        if self._waiting and self.current is None and self.is_writable and self.phase != CLOSING:
            exchange = self._pop_waiting()
            if self._is_held and not self._waiting:
                self._is_held = False
                self.resume_reading()
            server = self.server
            self._start_exchange(
                exchange, server.handle if exchange.trailing_data is None else server.upgrade
            )

    def is_last_response(self) -> bool:
        """Whether the connection is to end with the answer that is being made."""
        return self.close_requested and not self._waiting

    # Reading, refusing, closing.

    def resume_reading(self) -> None:
        """Undo one pause; nobody is too slow for what was not read."""
        if self._read_pauses == 1:
            self._reader.body_progress.restart()
        super().resume_reading()

    def _mark_active(self) -> None:
        self.server.active_connections.add(self)

    def _on_writable(self) -> None:
        if self.current is None:
            self._continue()

    def send_continue(self, exchange: Exchange) -> None:
        """Send 100 Continue if this request's client waits for it and no answer has begun."""
        first = self.current or (self._waiting[0] if self._waiting else exchange)
        if exchange is first and exchange.expects_continue and not exchange.status:
            exchange.expects_continue = False
            self.transport.write(response_head.CONTINUE_RESPONSE)

    def _on_partial_request(self) -> None:
        """A request is under way but not whole."""
        server, reader = self.server, self._reader
        server.active_connections.add(self)
        if len(reader.target) > server.limits.line:
            self.refuse(ClientError(414, "the request target is too long"))
        elif reader.size > server.limits.header_size + server.limits.line:
            self.refuse(ClientError(431, "the request is all head and no body"))
        elif reader.incoming is None:
            if self.current is None and self.phase != READING_HEAD:
                self.phase, self.deadline = READING_HEAD, server.head_deadline
        elif reader.body_progress.is_mostly_framing(reader.piece_size):
            self.refuse(ClientError(400, MOSTLY_FRAMING))
        elif self.phase != SENDING:
            self.phase, self.deadline = READING_BODY, reader.body_progress.deadline()
            left = reader.remaining_spooled_size()
            if left > server.bulk_receivers.min_size and self.current is None and not self._waiting:
                BulkReceiver(self, reader, reader.incoming, left).begin()

    def bulk_body_received(self) -> None:
        """An intake has the rest of the body that was due."""
        self._reader.finish_body()
        self._start_next()

    def refuse(self, error: ClientError) -> None:
        """Answer ``error`` once all earlier requests are answered, then close."""
        self._refusal = error
        broken = self._reader.incoming
        if broken is not None and broken is self.current:
            self._abort_body(broken)
            return
        if broken is not None and broken in self._waiting:
            self._waiting.remove(broken)
        if self.current is None and not self._waiting:
            self._send_refusal()

    def _abort_body(self, exchange: Exchange) -> None:
        """The body of the request that the app is reading is broken: the app sees a disconnect."""
        if exchange.body is not None:
            exchange.body.discard()
        if not exchange.headers_sent:
            self._send_refusal()
        else:
            self.abort()

    def _send_refusal(self) -> None:
        error = self._refusal
        assert error is not None
        if self.current is None:
            broken = self._reader.incoming
            self._start_without_app(broken or Exchange(self, RequestHead(self._reader.target, [])))
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
            self._expire_closing()
        elif self.phase == SENDING:
            self._expire_sending()
        elif self.phase in (NEW, IDLE):
            self._expire_idle()
        elif self.phase == READING_BODY and self._read_pauses:
            self.deadline = self.server.body_deadline  # it is the app that does not read
        elif self.phase in (READING_HEAD, READING_BODY):
            self.refuse(ClientError(408, "the request took too long to arrive"))
