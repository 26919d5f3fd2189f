"""The state that all HTTP connections of a worker share: settings, caches, drain, and the tick.

The tick runs a few times a second. It moves the clock (clock.py), ends what is overdue, and
collects the figures that only a look at all requests in progress can give.

Design
------
- **The tick checks connections that do something;** idle ones are checked only once in a sixteenth
  of their time. A connection becomes active when its request is not answered at once, when a
  request has arrived in part, or when its client does not read. A plain request pays nothing for
  it.
- **Work that a request leaves for later runs outside of its context** (``call_soon``). A response
  may end within the app's call, and asyncio's ``call_soon`` copies the context variables (PEP 567)
  of its caller. The next request of a pipeline would find the variables of the one before; so would
  all requests of a client that is accepted there, because a transport calls its protocol in the
  context in which it was made.
"""

import asyncio
import math
from collections.abc import Callable
from contextvars import copy_context
from time import monotonic
from typing import Any, Protocol

from prefork.http.answered_exchange import LogPlain
from prefork.http.buffer_pool import BufferPool
from prefork.http.clock import Clock
from prefork.http.counters import Counters
from prefork.http.exchange import Exchange, OpenConnection
from prefork.http.forwarded import TrustedProxies
from prefork.http.limits import Limits
from prefork.http.load import CONNECTION, REQUEST, Load
from prefork.http.movable_connection import MovableConnection
from prefork.http.pending_connections import PendingConnections
from prefork.http.response_head import EncodedField, HeaderPair
from prefork.http.spool_disk import SpoolDisk
from prefork.http.tick import TICK_PERIOD

DRAIN_TICK_PERIOD = 0.05
"""Seconds between two ticks while the worker drains, so that its end does not wait for a tick."""

LATENESS = 1 / 16
"""Share of its idle time by which an idle connection may outlive it."""

MAX_IDLE_CHECK_INTERVAL = 5.0
"""Seconds between two checks of the idle connections, at the most."""

UNUSED_MEMORY_AFTER = 10.0
"""Seconds between two checks for memory of bodies that can go back to the kernel."""


class RequestHandler(Protocol):
    """An app interface, such as WSGI or ASGI: takes requests and sees to it that each is
    answered."""

    streams_body: bool
    """True: ``handle`` is called when the head has arrived; False: when the whole body has."""

    can_cancel: bool
    """``time_out`` ends the call. Otherwise only the master can, by ending the worker."""

    has_byte_fields: bool
    """The header fields of a response are byte strings, and their names are sent in lower case;
    False: they are text."""

    def encode_field(self, pair: HeaderPair) -> EncodedField:
        """Validate and encode a header field that was not seen before; see response_head.py."""

    def handle(self, exchange: Exchange) -> None:
        """Have the app answer a request. Never raises."""

    @property
    def upgrade(self) -> Callable[[Exchange], None] | None:
        """Like ``handle``, for a request for a WebSocket; None: the Upgrade is ignored."""

    async def wait_for_calls(self) -> None:
        """Wait for calls that go on although their requests are answered."""

    def time_out(self, exchange: Exchange) -> None:
        """Act on a request whose app has exceeded the request timeout. Called once for each."""

    def client_disconnected(self, exchange: Exchange) -> None:
        """Note that the client left while the app was at work."""


class PlainCalls(Protocol):
    """A compiled app interface: calls the app for plain requests without making exchanges.

    When something unusual happens, it takes the exchange of the connection (``take_turn``), and has
    the RequestHandler go on with that.
    """

    @property
    def status(self) -> int:
        """The status of the latest response."""

    @property
    def response(self) -> bytes:
        """The bytes of the latest response."""

    def call(self, connection: Any, head: Any, started_at: float, /) -> int:
        """Have the app answer a request, which is a PlainHead. Never raises.

        Returns the size of the body when all was sent; -1: there is an exchange.
        """


def do_nothing() -> None:
    """Do nothing: the callback of an event for which none was set."""


class ServerState:
    """Shared by all connections of one worker."""

    # Slots, because Python 3.11 shares the layout of at most 30 attributes between instances; with
    # more, each access of a request would look into a dict.
    __slots__ = (
        *("active_connections", "buffer_pool", "clock", "closes_connections", "connections"),
        *("counters", "draining", "encode_field", "handle", "handler", "has_no_successor"),
        *("has_websockets", "limits"),
        *("load", "log_access", "log_plain", "loop", "next_callback_at", "on_activity"),
        *("on_connection_closed", "pending_connections", "plain_calls", "proxies", "spool_disk"),
        *("upgrade",),
        *("_at_each_tick", "_context", "_empty_waiter", "_next_idle_check", "_next_memory_check"),
        *("_on_less_busy", "_on_request_limit", "_on_response", "_request_limit"),
        *("_requests_at_idle_check",),
    )

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
        """``log_access``: called at the end of each request. ``spool``: default: without limits."""
        # A context without the variables of any request; see ``call_soon``.
        self.loop, self._context = loop, copy_context()
        self.handler, self.encode_field = handler, handler.encode_field
        self.handle: Callable[[Exchange], None] = handler.handle
        self.upgrade = handler.upgrade or handler.handle
        self.plain_calls: PlainCalls | None = None
        """Takes the place of ``handle`` for plain requests of HTTP/1.1; None: each has an
        exchange."""
        self.limits, self.proxies, self.load = limits, proxies, load
        self.log_access = log_access
        self.log_plain: LogPlain | None = None
        """Takes the place of ``log_access`` for plain requests; None: each has an exchange then."""
        self.clock = Clock(limits, loop.time())
        self.counters = Counters()
        self.buffer_pool = BufferPool(limits.body_memory)
        self.spool_disk = spool or SpoolDisk()
        self.connections: set[OpenConnection] = set()
        self.active_connections: set[OpenConnection] = set()
        """Connections that each tick checks. A connection joins when it becomes active; the tick
        removes it."""
        self.pending_connections = PendingConnections(loop, load, self._on_less_load)
        self.on_activity: Callable[[], None] = do_nothing
        """Called when a connection that was idle has something to read."""
        self.on_connection_closed: Callable[[], None] = do_nothing
        """Called when a connection is gone."""
        self.draining = self.has_websockets = False
        self.closes_connections = False
        """The service will end, so each connection closes after its next response."""
        self.has_no_successor = False
        """The worker drains, and no other worker takes over from it."""
        self.next_callback_at = math.inf
        """The number of requests at which ``run_callbacks`` is to be called."""
        self._request_limit = math.inf
        self._on_request_limit: Callable[[], None] = do_nothing
        self._on_less_busy: Callable[[], None] | None = None
        self._on_response: Callable[[MovableConnection], None] | None = None
        self._at_each_tick: list[Callable[[], None]] = []
        self._empty_waiter: asyncio.Future[None] | None = None
        self._next_idle_check = self._next_memory_check = 0.0
        self._requests_at_idle_check = 0

    # Callbacks at the end of requests.

    def call_after_requests(self, requests: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, when ``requests`` requests have been answered."""
        self.next_callback_at = self._request_limit = requests
        self._on_request_limit = callback

    def call_when_less_busy(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, soon after a request or a connection has ended."""
        self._on_less_busy = callback
        self.next_callback_at = min(self._request_limit, self.counters.requests + 1)

    def call_after_each_response(
        self, callback: Callable[[MovableConnection], None] | None
    ) -> None:
        """Call ``callback`` with the connection soon after each response; None: no longer.

        Connections that cannot be moved are left out.
        """
        self._on_response = callback
        if callback is not None:
            self.next_callback_at = 0

    def run_callbacks(self, connection: OpenConnection | None = None) -> None:
        """Run the callbacks that are due; ``connection``: its request is the latest that ended."""
        if self.counters.requests >= self._request_limit:
            self._request_limit = math.inf
            self._on_request_limit()
        self.next_callback_at = self._request_limit if self._on_response is None else 0
        self._on_less_load()
        if self._on_response is not None and connection is not None:
            movable = connection.movable
            if movable is not None:
                self.call_soon(self._on_response, movable)

    def _on_less_load(self) -> None:
        callback, self._on_less_busy = self._on_less_busy, None
        if callback is not None:
            self.call_soon(callback)

    def call_soon(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call ``callback`` in the loop's next turn, in a context without a request's variables."""
        self.loop.call_soon(callback, *arguments, context=self._context)

    # The tick.

    def call_at_each_tick(self, callback: Callable[[], None]) -> None:
        """Have each tick call ``callback``, for what a protocol has to check beside deadlines."""
        self._at_each_tick.append(callback)

    def tick(self) -> float:
        """Move the clock and end what is overdue. Return the seconds until the next tick."""
        now = self.loop.time()
        self.clock.advance(now)
        self.buffer_pool.tick()
        for callback in self._at_each_tick:
            callback()
        if now > self._next_memory_check:
            self._next_memory_check = now + UNUSED_MEMORY_AFTER
            self.buffer_pool.release_unused_memory()
        counters = self.counters
        counters.oldest_app_call_at = now
        counters.oldest_started_at = 0.0
        timeout = self.limits.request or math.inf
        for connection in self._connections_to_check(now):
            if connection.deadline <= now:
                connection.expire()
            in_flight = connection.in_flight()
            if not in_flight and connection.release_if_idle():
                self.active_connections.discard(connection)
            for exchange in in_flight:
                started_at = exchange.started_at
                if started_at < counters.oldest_started_at or not counters.oldest_started_at:
                    counters.oldest_started_at = started_at
                if exchange.status == 0:
                    self._check_app_call(exchange, now, timeout)
        return DRAIN_TICK_PERIOD if self.draining else TICK_PERIOD

    def _connections_to_check(self, now: float) -> list[OpenConnection]:
        """Return the active connections, or all when it is time for the idle ones, too."""
        if now < self._next_idle_check and not self.draining:
            return list(self.active_connections)
        self._next_idle_check = now + self._idle_check_interval()
        self._requests_at_idle_check = self.counters.requests
        return list(self.connections)

    def _idle_check_interval(self) -> float:
        return min(self.limits.keepalive * LATENESS, MAX_IDLE_CHECK_INTERVAL)

    def tickless_seconds(self) -> float:
        """Return for how long no tick is needed if nothing arrives; 0: a tick is needed.

        Valid right after a tick. Whatever arrives changes the load, or it is a part of a request
        on an idle connection, and both are reported (Load.notify_on_next_change, ``on_activity``).
        Therefore all connections must have given back what a request needs.
        """
        if self.draining or self.active_connections or self.load.word >= REQUEST:
            return 0.0
        if not self.connections:
            return math.inf
        is_checked = self.counters.requests == self._requests_at_idle_check
        return self._idle_check_interval() if is_checked else 0.0

    def _check_app_call(self, exchange: Exchange, now: float, timeout: float) -> None:
        """Report a request without a response that exceeds its timeout to its handler.

        The watchdog of the worker ends calls that cannot be cancelled, or that go on although they
        were cancelled. It looks at ``oldest_app_call_at``.
        """
        can_cancel = self.handler.can_cancel
        if not exchange.is_overdue and now - exchange.app_called_at > timeout:
            exchange.is_overdue = True
            self.handler.time_out(exchange)
            if exchange.response_complete:
                return
            if can_cancel:
                exchange.app_called_at = now
        if exchange.is_overdue or not (can_cancel or exchange.is_queued):
            counters = self.counters
            counters.oldest_app_call_at = min(counters.oldest_app_call_at, exchange.app_called_at)

    # The life of connections.

    def add_connection(self, connection: OpenConnection) -> None:
        """Add a connection that is counted in the load already."""
        self.connections.add(connection)
        self.active_connections.add(connection)
        if self.draining:
            connection.drain()
        elif self.closes_connections:
            connection.close_after_response()

    def remove_connection(self, connection: OpenConnection) -> None:
        """Remove a connection whose transport another protocol has taken over."""
        self.connections.discard(connection)
        self.active_connections.discard(connection)

    def connection_closed(self, connection: OpenConnection) -> None:
        """Remove a connection that is gone, and count it off."""
        self.pending_connections.discard(connection)
        self.load.add(-CONNECTION)
        self.remove_connection(connection)
        self.on_connection_closed()
        if self.counters.requests >= self.next_callback_at:
            self.run_callbacks()
        self._on_less_load()
        waiter = self._empty_waiter
        if waiter is not None and not self.connections and not waiter.done():
            waiter.set_result(None)

    def count_begun(self, exchange: Exchange) -> None:
        """Count a request whose turn has come, and start its times."""
        exchange.app_called_at, exchange.started_at = self.clock.now, monotonic()
        self.load.add(+REQUEST)

    def count_ended(self, exchange: Exchange) -> None:
        """Count and log a request that has ended, with or without a complete response."""
        self.load.add(-REQUEST)
        counters = self.counters
        counters.response_times[exchange.status].append(monotonic() - exchange.started_at)
        counters.body_bytes_sent += exchange.body_bytes_sent
        counters.requests += 1
        if self.log_access is not None:
            self.log_access(exchange)
        if counters.requests >= self.next_callback_at:
            self.run_callbacks(exchange.connection)

    def drain(self, has_no_successor: bool) -> None:
        """Finish all requests, answer one more of each busy client, then close.

        Connections that are accepted from now on have one request, too.
        """
        self.draining, self.has_no_successor = True, has_no_successor
        for connection in list(self.connections):
            connection.drain()

    def close_after_responses(self) -> None:
        """Close each connection after its next response, also those that are accepted later.

        The service will end. Called in a signal handler, so perhaps in the middle of a response
        whose head has promised to keep its connection open: those that are open are marked in the
        next turn of the loop.
        """
        self.closes_connections = True
        self.loop.call_soon_threadsafe(self._mark_connections)

    def _mark_connections(self) -> None:
        for connection in list(self.connections):
            connection.close_after_response()

    async def wait_until_empty(self) -> None:
        """Wait until the last connection is gone."""
        if self.connections:
            self._empty_waiter = self.loop.create_future()
            await self._empty_waiter

    def disown_requests(self) -> None:
        """Drop whatever the app still sends; called in a process that the worker forked.

        The requests belong to the worker, which answers them; the child has copies of them.
        """
        for connection in self.connections:
            for exchange in connection.in_flight():
                exchange.disconnected = True
