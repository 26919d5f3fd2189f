"""What all HTTP connections of a worker share: settings, the coarse clock, drain and counters.

Time is coarse on purpose. ``tick`` runs a few times a second, moves the clock, stamps the Date, and
looks once at every connection whose deadline may have passed. A request costs no timer, only the
copy of a number that the last tick computed.
"""

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable
from contextvars import copy_context
from time import monotonic, time
from typing import TYPE_CHECKING, Protocol

from prefork.http.buffer_pool import BufferPool
from prefork.http.bulk_receiver import BulkReceivers
from prefork.http.exchange import Exchange
from prefork.http.forwarded import TrustedProxies
from prefork.http.head_cache import RequestCache
from prefork.http.limits import Limits
from prefork.http.load import CONNECTION, REQUEST, Load
from prefork.http.pending_connections import PendingConnections
from prefork.http.reader import RequestReader
from prefork.http.response_head import DefaultFields, EncodedField, HeaderPair
from prefork.http.spool_disk import SpoolDisk
from prefork.http.tick import TICK_PERIOD

if TYPE_CHECKING:
    from prefork.http.connection import Connection

DRAIN_TICK_PERIOD = 0.05

LATENESS = 1 / 16
"""By which part of its time an idle connection may outlive it."""

MAX_IDLE_CHECK_INTERVAL = 5.0
"""Seconds between two looks at the idle connections."""

SEND_CHECKS = 8
"""Looks at a slow reader within the send timeout. A look tells what the client took since the last
one, so one that stops is cut an eighth of the timeout late; with one look it was twice the time."""

MAX_POOLED_READERS = 64

UNUSED_MEMORY_AFTER = 10.0
"""Seconds for which unused memory for bodies is kept."""


class RequestHandler(Protocol):
    """An app interface: takes a request and sees to it that it is answered."""

    streams_body: bool
    """Called when the head has arrived (True) or when the whole body has (False)."""

    can_cancel: bool
    """Whether ``overdue`` ends the call; else only the master can, by ending the worker."""

    def encode_field(self, pair: HeaderPair) -> EncodedField:
        """Judge a header field of the app's that was not seen before; see response_head.py."""

    def handle(self, exchange: Exchange) -> None:
        """Never raises."""

    @property
    def upgrade(self) -> Callable[[Exchange], None] | None:
        """Like ``handle``, for one that asks for a WebSocket; None: that wish is ignored."""

    async def wait_for_calls(self) -> None:
        """Wait for calls that go on although their requests are answered."""

    def time_out(self, exchange: Exchange) -> None:
        """The app has had the ball for longer than the request timeout; told once."""

    def client_disconnected(self, exchange: Exchange) -> None:
        """The client left while the app was at work."""


class OpenConnection(Protocol):
    """An open connection, whatever is spoken on it."""

    deadline: float
    """When to call ``expire``."""

    @property
    def current(self) -> Exchange | None:
        """The request that is being answered."""

    def expire(self) -> None:
        """The deadline passed."""

    def drain(self) -> None:
        """The worker drains."""

    def release_if_idle(self) -> bool:
        """Whether it idles, and need not be looked at soon; then it gives back what it can."""


class ServerState:
    """Shared by all connections of one worker."""

    on_activity: Callable[[], None] = staticmethod(lambda: None)
    """Called when a connection that idled has something to read."""

    _requests_at_idle_check = 0
    """Requests answered when all connections were looked at last."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: RequestHandler,
        limits: Limits,
        proxies: TrustedProxies,
        load: Load,
        log_access: Callable[[Exchange], None] | None = None,
        spool: SpoolDisk | None = None,
    ) -> None:
        # A context with no request's variables in it; see ``soon``.
        self.loop, self._context = loop, copy_context()
        self.handler = handler
        self.handle: Callable[[Exchange], None] = handler.handle
        self.upgrade = handler.upgrade or handler.handle
        self.encode_field = handler.encode_field
        self.limits = limits
        self.proxies = proxies
        self.load = load
        self.request_cache = RequestCache(limits)
        self.head_cache = self.request_cache.heads
        self.buffer_pool, self.spool_disk = BufferPool(limits.body_memory), spool or SpoolDisk()
        self.bulk_receivers = BulkReceivers()
        self.keeps_alive = limits.keepalive > 0
        self.small = min(limits.line, limits.header_size)
        """A request of so many bytes is within every limit on its head."""
        self.log_access = log_access
        self.connections: set[OpenConnection] = set()
        self.active_connections: set[OpenConnection] = set()
        """Those that do more than idle. A connection joins when it begins to; the tick lets go."""
        self.pending_connections = PendingConnections(loop, load, self._tell_less_busy)
        self.idle_reader = RequestReader(self)
        """Stands for the reader of a connection that has nothing to read."""
        self._readers: list[RequestReader] = []
        """Readers that nobody uses, each with a parser between two requests."""
        self.on_connection_closed: Callable[[], None] = lambda: None
        """Called when a connection is gone."""
        self._next_idle_check = 0.0
        """When to look at the idle connections, too."""
        self.draining = self.has_websockets = False
        self.has_no_successor = False
        """Nobody will take over from this worker."""
        self.requests = 0
        self.response_times: defaultdict[int, list[float]] = defaultdict(list)
        """What the latest requests took, in seconds, by the status of their answers; 0: there was
        none. Somebody has to take them away."""
        self.body_bytes_sent = 0
        """Bytes of bodies."""
        self.oldest_started_at = 0.0
        """When the longest of the requests in flight began, as of the last tick; 0: none is."""
        self.oldest_app_call_at = 0.0
        """When the request began that has waited longest for its app, as of the last tick."""
        self.next_callback_at = math.inf
        """Number of requests at which ``reached`` is to be called."""
        self._request_limit = math.inf
        self._on_request_limit: Callable[[], None] = lambda: None
        self._on_less_busy: Callable[[], None] | None = None
        self._on_response: Callable[[Connection], None] | None = None
        self._empty_waiter: asyncio.Future[None] | None = None
        """Done when the last connection is gone; somebody waits for it."""
        self._next_memory_check = 0.0
        self.advance(loop.time())

    def call_after_requests(self, requests: int, callback: Callable[[], None]) -> None:
        """Call ``on_worn`` after so many requests."""
        self.next_callback_at = self._request_limit = requests
        self._on_request_limit = callback

    def call_when_less_busy(self, call: Callable[[], None]) -> None:
        """Call it once, soon after there is less to do."""
        self._on_less_busy = call
        self.next_callback_at = min(self._request_limit, self.requests + 1)

    def call_after_each_response(self, call: "Callable[[Connection], None] | None") -> None:
        """Call it soon after each answer, with its connection; None: no more."""
        self._on_response = call
        if call is not None:
            self.next_callback_at = 0

    def run_callbacks(self, connection: "Connection | None" = None) -> None:
        """As many requests were answered as somebody waited for, the last one on this."""
        if self.requests >= self._request_limit:
            self._request_limit = math.inf
            self._on_request_limit()
        self.next_callback_at = self._request_limit if self._on_response is None else 0
        self._tell_less_busy()
        if self._on_response is not None and connection is not None:
            self.call_soon(self._on_response, connection)

    def _tell_less_busy(self) -> None:
        call, self._on_less_busy = self._on_less_busy, None
        if call is not None:
            self.call_soon(call)

    def call_soon(self, call: Callable[..., object], *arguments: object) -> None:
        """Call it in the loop's next turn, outside of any request.

        A response may end within the app's call, where ``loop.call_soon`` would copy the context
        variables of that request (PEP 567), and pass them on: to the next request of a pipeline,
        or to a connection that is accepted there and to all of its requests.
        """
        self.loop.call_soon(call, *arguments, context=self._context)

    def advance(self, now: float) -> None:
        """Move the clock. Deadlines allow for the time until the next tick."""
        self.now = now
        limits = self.limits
        later = now + TICK_PERIOD
        self.idle_deadline = later + limits.keepalive
        self.head_deadline = later + limits.header_timeout
        self.body_deadline = later + limits.body_timeout
        self.send_deadline = later + limits.send_timeout
        self.next_send_check = now + limits.send_timeout / SEND_CHECKS
        DefaultFields.update(time(), limits.server)

    def tick(self) -> float:
        """Advance, and end what is overdue; seconds until the next tick is wanted."""
        now = self.loop.time()
        self.advance(now)
        self.buffer_pool.tick()
        self.bulk_receivers.tick()
        if now > self._next_memory_check:
            self._next_memory_check = now + UNUSED_MEMORY_AFTER
            self.buffer_pool.release_unused_memory()
        self.oldest_app_call_at = now
        self.oldest_started_at = 0.0
        patience = self.limits.request or math.inf
        for connection in self._connections_to_check(now):
            if connection.deadline <= now:
                connection.expire()
            exchange = connection.current
            if exchange is None:
                if connection.release_if_idle():
                    self.active_connections.discard(connection)
                continue
            if exchange.started_at < self.oldest_started_at or not self.oldest_started_at:
                self.oldest_started_at = exchange.started_at
            if exchange.status == 0:
                self._check_app_call(exchange, now, patience)
        return DRAIN_TICK_PERIOD if self.draining else TICK_PERIOD

    def _connections_to_check(self, now: float) -> list[OpenConnection]:
        """Whom to look at. Who idles, be they ten thousand, waits for the next round."""
        if now < self._next_idle_check and not self.draining:
            return list(self.active_connections)
        self._next_idle_check = now + self._idle_check_interval()
        self._requests_at_idle_check = self.requests
        return list(self.connections)

    def _idle_check_interval(self) -> float:
        return min(self.limits.keepalive * LATENESS, MAX_IDLE_CHECK_INTERVAL)

    def tickless_seconds(self) -> float:
        """Seconds for which no tick is needed if nothing comes; 0: something is in flight.

        As of a tick. What comes changes the load, or borrows a reader, and either is told. So all
        connections must have given their readers back.
        """
        if self.draining or self.active_connections or self.load.word >= REQUEST:
            return 0.0
        if not self.connections:
            return math.inf
        return self._idle_check_interval() if self.requests == self._requests_at_idle_check else 0.0

    def lend_reader(self, connection: "Connection") -> RequestReader:
        """For a connection that has something to read."""
        self.on_activity()
        reader = self._readers.pop() if self._readers else RequestReader(self)
        reader.connection = connection
        return reader

    def take_reader_back(self, reader: RequestReader) -> None:
        """From a connection whose reader is between two requests."""
        if len(self._readers) < MAX_POOLED_READERS:
            del reader.connection
            self._readers.append(reader)
        else:
            reader.close()

    def _check_app_call(self, exchange: Exchange, now: float, patience: float) -> None:
        """A request without an answer: cancel it when it is overdue. The worker's own deadline is
        for calls that cannot be cancelled, or that live on although they were."""
        cancels = self.handler.can_cancel
        if not exchange.is_overdue and now - exchange.app_called_at > patience:
            exchange.is_overdue = True
            self.handler.time_out(exchange)
            if exchange.response_complete:
                return
            if cancels:
                exchange.app_called_at = now
        if exchange.is_overdue or not (cancels or exchange.is_queued):
            self.oldest_app_call_at = min(self.oldest_app_call_at, exchange.app_called_at)

    def drain(self, has_no_successor: bool) -> None:
        """Finish what runs, answer one more request of each busy client, then close. Who comes
        from now on has one request, too."""
        self.draining, self.has_no_successor = True, has_no_successor
        for connection in list(self.connections):
            connection.drain()

    async def wait_until_empty(self) -> None:
        """Wait until the last connection is gone."""
        if self.connections:
            self._empty_waiter = self.loop.create_future()
            await self._empty_waiter

    def disown_requests(self) -> None:
        """In a process that the worker forked: its copies of the requests are answered by the
        worker. What the app still sends here has nowhere to go."""
        for connection in self.connections:
            if connection.current is not None:
                connection.current.disconnected = True

    def add_connection(self, connection: OpenConnection) -> None:
        """There is a connection, which is counted already."""
        self.connections.add(connection)
        self.active_connections.add(connection)
        if self.draining:
            connection.drain()

    def remove_connection(self, connection: OpenConnection) -> None:
        """It goes on as another one."""
        self.connections.discard(connection)
        self.active_connections.discard(connection)

    def count_unfinished(self, exchange: Exchange) -> None:
        """It is over without having been answered to its end."""
        self.load.add(-REQUEST)
        self.response_times[exchange.status].append(monotonic() - exchange.started_at)
        self.body_bytes_sent += exchange.body_bytes_sent
        self.requests += 1
        if self.log_access is not None:
            self.log_access(exchange)

    def connection_closed(self, connection: OpenConnection) -> None:
        """It is gone."""
        self.pending_connections.discard(connection)
        self.load.add(-CONNECTION)
        self.remove_connection(connection)
        self.on_connection_closed()
        if self.requests >= self.next_callback_at:
            self.run_callbacks()
        self._tell_less_busy()
        if (
            self._empty_waiter is not None
            and not self.connections
            and not self._empty_waiter.done()
        ):
            self._empty_waiter.set_result(None)
