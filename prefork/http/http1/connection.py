"""The connection of one client: from bytes to requests, from responses to the next request.

Bytes go to the reader, which makes exchanges of them. They are answered one at a time and in order
(pipeline.py). validation.py decides which requests are refused; how a refusal is sent is decided
here. Phases, deadlines and the ways in which a connection ends are in base_connection.py.

Design
------
- **A half-closed client still gets its response from a WSGI app; to an ASGI app it is a
  disconnect.** A WSGI app cannot be told anything, and a client may half-close when it has sent its
  request. An ASGI app that streams wants to hear of a client that is gone, which is what the end of
  its bytes mostly means.
- **Half-closed TLS connections are not supported:** a close_notify ends the connection. uvloop
  offers nothing else.
- **No response is begun before the client has read enough of the one before.** Otherwise a client
  that pipelines requests and reads nothing would make the worker keep all of its responses.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import cast

from prefork.errors import ClientError
from prefork.http import response_head
from prefork.http.connection_cache import ConnectionCache
from prefork.http.exchange import Exchange
from prefork.http.http1.base_connection import (
    CLOSING,
    IDLE,
    NEVER,
    NEW,
    PROCESSING,
    READING_BODY,
    READING_HEAD,
    SENDING,
)
from prefork.http.http1.bulk_receiver import BulkReceiver
from prefork.http.http1.http1_sink import Http1Sink
from prefork.http.http1.http1_state import Http1State
from prefork.http.http1.pipeline import MOSTLY_FRAMING, Pipeline
from prefork.http.http1.trailing_data import TrailingDataReader
from prefork.http.load import REQUEST
from prefork.http.movable_connection import MovableConnection
from prefork.http.peer import Addresses, Peer
from prefork.http.request import ParsedHead


class Connection(Pipeline):
    """The asyncio protocol of one accepted connection."""

    __slots__ = ("_addresses", "_is_trusted", "cache", "sink")

    sink: Http1Sink

    def __init__(self, http1: Http1State, addresses: Addresses | None = None) -> None:
        """``addresses``: as the PROXY protocol tells them; None: those of the socket."""
        super().__init__(http1)
        self._addresses = addresses
        self._is_trusted: bool | None = None
        """The client is a trusted proxy; None: not asked yet."""
        self.cache: ConnectionCache | None = None
        """Data of the app interface's for all requests of this client."""

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request; asyncio calls this when the transport is ready."""
        self.transport = self.flow.transport = cast(asyncio.Transport, transport)
        self.sink = Http1Sink(self.transport, self.flow, self.http1.compose)
        server, self.peer = self.server, Peer(transport, self._addresses)
        self.deadline = server.clock.head_deadline
        server.add_connection(self)
        server.pending_connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Start the requests in bytes that arrived; keep a partial one. asyncio calls this."""
        if self.phase == NEW:
            self.phase = READING_HEAD
            self.server.pending_connections.discard(self)
            self.data_received(data)  # a plain connection begins anew with the compiled reader
            return
        if self.phase == CLOSING or self._refusal is not None:
            return
        if len(data) > self.slice_size or self._unparsed is not None:
            self._parse_in_slices(data)
        else:
            self._parse(data)
        reader = self._reader
        if self._waiting and self.current is None:
            self._start_next()
        is_partial = reader.size or not reader.is_between_requests
        if is_partial and self._refusal is None and self.phase != CLOSING:
            self._on_partial_request()

    def _parse(self, data: bytes | memoryview) -> None:
        reader, readers = self._reader, self.http1.readers
        if reader is readers.idle_reader:
            self.server.on_activity()
            reader = self._reader = readers.borrow(self)
        try:
            last = reader.read(data)
        except ClientError as error:
            self.refuse(error)
            return
        if last is not None:
            self._close_reader()
            self._reader = TrailingDataReader(readers.context, self, last)
            self.enqueue(last)

    def eof_received(self) -> bool:
        """Decide about a client that sent its last byte. Return True to keep the connection open.

        asyncio calls this. See "Design" above.
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
        """Discard all requests of a connection that is gone, whichever side ended it.

        asyncio calls this.
        """
        server, reader = self.server, self._reader
        self.release_if_idle()  # a reader between two requests can be lent again
        self.phase, self.deadline = CLOSING, NEVER
        for exchange in (self.current, reader.incoming, *self._waiting):
            if exchange is not None and not exchange.disconnected:
                exchange.disconnected = True
                # The body of a complete request belongs to the app, which may read it in a thread.
                belongs_to_app = exchange is self.current and exchange.request_complete
                if exchange.body is not None and not belongs_to_app:
                    exchange.body.discard()
        if self.current is not None:
            server.handler.client_disconnected(self.current)
            server.count_ended(self.current)
            self.current = None
        self.flow.end()
        self.flow.wake_writers()
        self._waiting.clear()
        self._unparsed = None
        self._close_reader()
        # Both lead back to this connection, by early hints and by a traceback: it would be left to
        # the garbage collector, which took a tenth of the time of a connection with one request.
        self.cache = self._refusal = None
        server.connection_closed(self)

    def is_trusted(self) -> bool:
        """Return whether the client is a proxy whose forwarding fields count."""
        if self._is_trusted is None:
            self._is_trusted = self.peer.host in self.server.proxies
        return self._is_trusted

    # Requests in order.

    def take_turn(self) -> Exchange | None:
        """Return the exchange that is being answered."""
        return self.current

    def body_received(self) -> None:
        """Note that the body which the app reads is complete."""
        if self.phase == READING_BODY:
            self.phase, self.deadline = PROCESSING, NEVER

    def _start_exchange(self, exchange: Exchange, handle: Callable[[Exchange], None]) -> None:
        """Begin the turn of a request, and have ``handle`` call the app."""
        self.current = exchange
        server = self.server
        load = server.load
        # count_begun() in place, where every nanosecond counts; the store may wake the clock.
        load.words[load.index] = load.word = load.word + REQUEST
        exchange.app_called_at, exchange.started_at = server.clock.now, monotonic()
        self.phase = PROCESSING
        handle(exchange)
        if self.current is not None:
            server.active_connections.add(self)

    def _start_without_app(self, exchange: Exchange) -> None:
        """Begin the turn of a request that is answered without the app."""
        self.current, self.phase = exchange, PROCESSING
        self.server.count_begun(exchange)

    def switch_protocol(self, exchange: Exchange, head: bytes, protocol: asyncio.Protocol) -> None:
        """Send ``head``, that of a 101, and hand the transport to another protocol; this
        connection is done."""
        self.transport.write(head)
        exchange.status, exchange.response_complete = 101, True
        # Otherwise a draining worker would close the transport here.
        self.close_requested = False
        self.finish_exchange(exchange)
        self.phase = CLOSING
        self.flow.end()
        self.server.remove_connection(self)
        self._close_reader()
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if self._read_pauses:
            self.resume_reading()
        if exchange.trailing_data:
            protocol.data_received(exchange.trailing_data)

    def abort_response(self, _exchange: Exchange) -> None:
        """Reset the connection: HTTP/1.1 has no other way to cut a response off."""
        self.abort()

    def finish_exchange(self, exchange: Exchange) -> None:
        """Account for an exchange that was answered; go on with the next request, or close."""
        if exchange is not self.current:
            return
        server = self.server
        load, counters = server.load, server.counters
        # count_ended() in place, as in _start_exchange.
        load.words[load.index] = load.word = load.word - REQUEST
        counters.response_times[exchange.status].append(monotonic() - exchange.started_at)
        counters.body_bytes_sent += exchange.body_bytes_sent
        if server.log_access is not None:
            server.log_access(exchange)
        self.current = None
        counters.requests = requests = counters.requests + 1
        if requests >= server.next_callback_at:
            server.run_callbacks(self)
        if not exchange.keep_alive:
            # Requests that wait are not answered; their client may still be sending.
            self._close(lingering=not exchange.request_complete or len(self._waiting) > 0)
        elif (
            self._waiting
            or self._refusal is not None
            or self.close_requested
            or self._reader.incoming is not None
            or not self.flow.is_writable
        ):
            self._continue()
        else:
            self.phase = IDLE
            self.deadline = server.clock.idle_deadline

    def _continue(self) -> None:
        """Go on after a response when there is more to do than to wait for the next request."""
        if not self.flow.is_writable:
            return
        if self._waiting:
            self.server.call_soon(self._start_next)
        elif self._refusal is not None:
            self._send_refusal()
        else:
            self._become_idle()

    def _become_idle(self) -> None:
        clock = self.server.clock
        self.phase = IDLE
        self.deadline = clock.idle_deadline
        if self.server.draining:
            self.drain()
        elif self.close_requested:
            self._close(lingering=False)
            return
        if self._reader.incoming is not None:
            # The next request has arrived up to its body.
            self.phase, self.deadline = READING_BODY, clock.body_deadline
            self.send_continue(self._reader.incoming)

    def release_if_idle(self) -> bool:
        """Return whether the connection is idle and holds no bytes.

        An idle one gives its reader back, and drops what the handler keeps.
        """
        if self.phase != IDLE or self.current is not None:
            return False
        self.cache = None
        reader, readers = self._reader, self.http1.readers
        if reader is not readers.idle_reader:
            if not reader.is_between_requests or reader.size:
                return False
            self._reader = readers.idle_reader
            readers.give_back(reader)
        return True

    @property
    def movable(self) -> MovableConnection:
        """This connection: another worker can continue with it between two requests."""
        return self

    def skip_first_deadline(self) -> None:
        """Make a new connection an idle one: its client had a request answered elsewhere, and is
        not expected to send one at once."""
        if self.phase == NEW:
            self.server.pending_connections.discard(self)
            self.phase, self.deadline = IDLE, self.server.clock.idle_deadline

    def give_away(self) -> None:
        """Close this process's descriptor: another process has a copy of it, and goes on."""
        self.phase = CLOSING
        self.flow.end()
        self.transport.abort()

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, self.http1.readers.idle_reader
        if reader is not self._reader:
            reader.close()

    def _start_next(self) -> None:
        """Start the next request that waits, if there is one and the client keeps up."""
        if (
            self._waiting
            and self.current is None
            and self.flow.is_writable
            and self.phase != CLOSING
        ):
            exchange = self._pop_waiting()
            if exchange is None:
                return
            if self._is_held and not self._waiting:
                self._is_held = False
                self.resume_reading()
            server = self.server
            is_upgrade = exchange.trailing_data is not None
            self._start_exchange(exchange, server.upgrade if is_upgrade else server.handle)

    def is_last_response(self) -> bool:
        """Return whether the connection closes after the response that is being made."""
        return self.close_requested and not self._waiting

    # Reading and refusing.

    def resume_reading(self) -> None:
        """Undo one pause. The time in which the server did not read is not the client's."""
        if self._read_pauses == 1:
            self._reader.body_progress.restart()
        super().resume_reading()

    def _mark_active(self) -> None:
        self.server.active_connections.add(self)

    def _on_writable(self) -> None:
        if self.current is None:
            self._continue()

    def send_continue(self, exchange: Exchange) -> None:
        """Send 100 Continue if the client waits for it and it is the turn of this request."""
        first = self.current or (self._waiting[0] if self._waiting else exchange)
        if exchange is first and exchange.expects_continue and not exchange.status:
            exchange.expects_continue = False
            self.sink.send_interim(100, b"")

    def _on_partial_request(self) -> None:
        """Check limits and set the deadline, because a request has arrived in part."""
        server, reader = self.server, self._reader
        limits = server.limits
        server.active_connections.add(self)
        if len(reader.target) > limits.line:
            self.refuse(ClientError(414, "the request target is too long"))
        elif reader.size > limits.header_size + limits.line:
            self.refuse(
                ClientError(431, "the request head, or the framing of its body, is too large")
            )
        elif reader.incoming is None:
            if self.current is None and self.phase != READING_HEAD:
                self.phase, self.deadline = READING_HEAD, server.clock.head_deadline
        elif reader.is_mostly_framing():
            self.refuse(ClientError(400, MOSTLY_FRAMING))
        elif self.phase != SENDING:
            self.phase, self.deadline = READING_BODY, reader.body_progress.deadline()
            remaining, receivers = reader.remaining_spooled_size(), self.http1.bulk_receivers
            if remaining > receivers.min_size and self.current is None and not self._waiting:
                progress = reader.body_progress
                BulkReceiver(self, reader.incoming, progress, remaining, receivers).begin()

    def bulk_body_received(self) -> None:
        """Take the transport back from a BulkReceiver: the body is complete."""
        self.pause_reading()
        self.transport.set_protocol(self)
        self.resume_reading()
        self._reader.finish_body()
        self._start_next()

    def refuse(self, error: ClientError) -> None:
        """Answer ``error`` when all earlier requests are answered, then close."""
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
        """End a request whose body is broken while the app reads it: the app sees a disconnect."""
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
            self._start_without_app(
                broken or Exchange(self, ParsedHead(self._reader.target, []), self.sink)
            )
        exchange = self.current
        assert exchange is not None
        exchange.keep_alive = exchange.request_complete = False
        retry_after = (response_head.RETRY_AFTER,) if error.status == 503 else ()
        exchange.send_error(error.status, str(error), retry_after)
        exchange.disconnected = True  # what the app still sends has nowhere to go
        if exchange.body is not None:
            exchange.body.discard()
