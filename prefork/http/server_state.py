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

from prefork.http.buffer_pool import Room
from prefork.http.bulk_receiver import Intakes
from prefork.http.exchange import Exchange
from prefork.http.forwarded import Proxies
from prefork.http.head_cache import Memory
from prefork.http.limits import Limits
from prefork.http.load import CONNECTION, REQUEST, Load
from prefork.http.pending_connections import Newcomers
from prefork.http.reader import RequestReader
from prefork.http.response_head import Date, Field, Pair
from prefork.http.spool_disk import SpoolDisk
from prefork.http.tick import PERIOD

if TYPE_CHECKING:
    from prefork.http.connection import Connection

PERIOD_WHILE_DRAINING = 0.05

LATENESS = 1 / 16
"""By which part of its time an idle connection may outlive it."""

LONGEST_ROUND = 5.0
"""Seconds between two looks at the idle connections."""

SEND_LOOKS = 8
"""Looks at a slow reader within the send timeout. A look tells what the client took since the last
one, so one that stops is cut an eighth of the timeout late; with one look it was twice the time."""

MOST_READERS = 64

REST_AFTER = 10.0
"""Seconds for which unused memory for bodies is kept."""


class Handler(Protocol):
    """An app interface: takes a request and sees to it that it is answered."""

    streams: bool
    """Called when the head has arrived (True) or when the whole body has (False)."""

    cancels: bool
    """Whether ``overdue`` ends the call; else only the master can, by ending the worker."""

    def learn(self, pair: Pair) -> Field:
        """Judge a header field of the app's that was not seen before; see response_head.py."""

    def handle(self, exchange: Exchange) -> None:
        """Never raises."""

    @property
    def upgrade(self) -> Callable[[Exchange], None] | None:
        """Like ``handle``, for one that asks for a WebSocket; None: that wish is ignored."""

    async def finish(self) -> None:
        """Wait for calls that go on although their requests are answered."""

    def overdue(self, exchange: Exchange) -> None:
        """The app has had the ball for longer than the request timeout; told once."""

    def lost(self, exchange: Exchange) -> None:
        """The client left while the app was at work."""


class Open(Protocol):
    """An open connection, whatever is spoken on it."""

    deadline: float
    """When to call ``expire``."""

    @property
    def current(self) -> Exchange | None:
        """The request that is being answered."""

    def expire(self) -> None:
        """The deadline passed."""

    def hurry(self) -> None:
        """The worker drains."""

    def rest(self) -> bool:
        """Whether it idles, and need not be looked at soon; then it gives back what it can."""


class Service:
    """Shared by all connections of one worker."""

    wake: Callable[[], None] = staticmethod(lambda: None)
    """Called when a connection that idled has something to read."""

    _rested_at = 0
    """Requests answered when all connections were looked at last."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: Handler,
        limits: Limits,
        proxies: Proxies,
        load: Load,
        log_access: Callable[[Exchange], None] | None = None,
        spool: SpoolDisk | None = None,
    ) -> None:
        # A context with no request's variables in it; see ``soon``.
        self.loop, self._context = loop, copy_context()
        self.handler = handler
        self.handle: Callable[[Exchange], None] = handler.handle
        self.upgrade = handler.upgrade or handler.handle
        self.learn = handler.learn
        self.limits = limits
        self.proxies = proxies
        self.load = load
        self.memory = Memory(limits)
        self.heads = self.memory.heads
        self.room, self.spool = Room(limits.body_memory), spool or SpoolDisk()
        self.intakes = Intakes()
        self.keeps_alive = limits.keepalive > 0
        self.small = min(limits.line, limits.header_size)
        """A request of so many bytes is within every limit on its head."""
        self.log_access = log_access
        self.connections: set[Open] = set()
        self.watched: set[Open] = set()
        """Those that do more than idle. A connection joins when it begins to; the tick lets go."""
        self.newcomers = Newcomers(loop, load, self._tell_lighter)
        self.no_reader = RequestReader(self)
        """Stands for the reader of a connection that has nothing to read."""
        self._readers: list[RequestReader] = []
        """Readers that nobody uses, each with a parser between two requests."""
        self.on_lost: Callable[[], None] = lambda: None
        """Called when a connection is gone."""
        self._next_round = 0.0
        """When to look at the idle connections, too."""
        self.draining = self.has_websockets = False
        self.for_good = False
        """Nobody will take over from this worker."""
        self.requests = 0
        self.times: defaultdict[int, list[float]] = defaultdict(list)
        """What the latest requests took, in seconds, by the status of their answers; 0: there was
        none. Somebody has to take them away."""
        self.sent = 0
        """Bytes of bodies."""
        self.first = 0.0
        """When the longest of the requests in flight began, as of the last tick; 0: none is."""
        self.oldest = 0.0
        """When the request began that has waited longest for its app, as of the last tick."""
        self.mark = math.inf
        """Number of requests at which ``reached`` is to be called."""
        self._worn_at = math.inf
        self._on_worn: Callable[[], None] = lambda: None
        self._on_lighter: Callable[[], None] | None = None
        self._on_answer: Callable[[Connection], None] | None = None
        self._emptied: asyncio.Future[None] | None = None
        """Done when the last connection is gone; somebody waits for it."""
        self._next_rest = 0.0
        self.advance(loop.time())

    def wear(self, requests: int, on_worn: Callable[[], None]) -> None:
        """Call ``on_worn`` after so many requests."""
        self.mark = self._worn_at = requests
        self._on_worn = on_worn

    def when_lighter(self, call: Callable[[], None]) -> None:
        """Call it once, soon after there is less to do."""
        self._on_lighter = call
        self.mark = min(self._worn_at, self.requests + 1)

    def after_each(self, call: "Callable[[Connection], None] | None") -> None:
        """Call it soon after each answer, with its connection; None: no more."""
        self._on_answer = call
        if call is not None:
            self.mark = 0

    def reached(self, connection: "Connection | None" = None) -> None:
        """As many requests were answered as somebody waited for, the last one on this."""
        if self.requests >= self._worn_at:
            self._worn_at = math.inf
            self._on_worn()
        self.mark = self._worn_at if self._on_answer is None else 0
        self._tell_lighter()
        if self._on_answer is not None and connection is not None:
            self.soon(self._on_answer, connection)

    def _tell_lighter(self) -> None:
        call, self._on_lighter = self._on_lighter, None
        if call is not None:
            self.soon(call)

    def soon(self, call: Callable[..., object], *arguments: object) -> None:
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
        later = now + PERIOD
        self.idle_deadline = later + limits.keepalive
        self.head_deadline = later + limits.header_timeout
        self.body_deadline = later + limits.body_timeout
        self.send_deadline = later + limits.send_timeout
        self.next_send_look = now + limits.send_timeout / SEND_LOOKS
        Date.stamp(time(), limits.server)

    def tick(self) -> float:
        """Advance, and end what is overdue; seconds until the next tick is wanted."""
        now = self.loop.time()
        self.advance(now)
        self.room.tick()
        self.intakes.tick()
        if now > self._next_rest:
            self._next_rest = now + REST_AFTER
            self.room.rest()
        self.oldest = now
        self.first = 0.0
        patience = self.limits.request or math.inf
        for connection in self._due(now):
            if connection.deadline <= now:
                connection.expire()
            exchange = connection.current
            if exchange is None:
                if connection.rest():
                    self.watched.discard(connection)
                continue
            if exchange.started < self.first or not self.first:
                self.first = exchange.started
            if exchange.status == 0:
                self._watch(exchange, now, patience)
        return PERIOD_WHILE_DRAINING if self.draining else PERIOD

    def _due(self, now: float) -> list[Open]:
        """Whom to look at. Who idles, be they ten thousand, waits for the next round."""
        if now < self._next_round and not self.draining:
            return list(self.watched)
        self._next_round = now + self._round()
        self._rested_at = self.requests
        return list(self.connections)

    def _round(self) -> float:
        return min(self.limits.keepalive * LATENESS, LONGEST_ROUND)

    def quiet_time(self) -> float:
        """Seconds for which no tick is needed if nothing comes; 0: something is in flight.

        As of a tick. What comes changes the load, or borrows a reader, and either is told. So all
        connections must have given their readers back.
        """
        if self.draining or self.watched or self.load.word >= REQUEST:
            return 0.0
        if not self.connections:
            return math.inf
        return self._round() if self.requests == self._rested_at else 0.0

    def lend_reader(self, connection: "Connection") -> RequestReader:
        """For a connection that has something to read."""
        self.wake()
        reader = self._readers.pop() if self._readers else RequestReader(self)
        reader.connection = connection
        return reader

    def take_reader_back(self, reader: RequestReader) -> None:
        """From a connection whose reader is between two requests."""
        if len(self._readers) < MOST_READERS:
            del reader.connection
            self._readers.append(reader)
        else:
            reader.close()

    def _watch(self, exchange: Exchange, now: float, patience: float) -> None:
        """A request without an answer: cancel it when it is overdue. The worker's own deadline is
        for calls that cannot be cancelled, or that live on although they were."""
        cancels = self.handler.cancels
        if not exchange.overdue and now - exchange.began > patience:
            exchange.overdue = True
            self.handler.overdue(exchange)
            if exchange.ended:
                return
            if cancels:
                exchange.began = now
        if exchange.overdue or not (cancels or exchange.queued):
            self.oldest = min(self.oldest, exchange.began)

    def drain(self, for_good: bool) -> None:
        """Finish what runs, answer one more request of each busy client, then close. Who comes
        from now on has one request, too."""
        self.draining, self.for_good = True, for_good
        for connection in list(self.connections):
            connection.hurry()

    async def emptied(self) -> None:
        """Wait until the last connection is gone."""
        if self.connections:
            self._emptied = self.loop.create_future()
            await self._emptied

    def give_up(self) -> None:
        """In a process that the worker forked: its copies of the requests are answered by the
        worker. What the app still sends here has nowhere to go."""
        for connection in self.connections:
            if connection.current is not None:
                connection.current.gone = True

    def begin(self, connection: Open) -> None:
        """There is a connection, which is counted already."""
        self.connections.add(connection)
        self.watched.add(connection)
        if self.draining:
            connection.hurry()

    def forget(self, connection: Open) -> None:
        """It goes on as another one."""
        self.connections.discard(connection)
        self.watched.discard(connection)

    def account(self, exchange: Exchange) -> None:
        """It is over without having been answered to its end."""
        self.load.change(-REQUEST)
        self.times[exchange.status].append(monotonic() - exchange.started)
        self.sent += exchange.sent
        self.requests += 1
        if self.log_access is not None:
            self.log_access(exchange)

    def lost(self, connection: Open) -> None:
        """It is gone."""
        self.newcomers.came(connection)
        self.load.change(-CONNECTION)
        self.forget(connection)
        self.on_lost()
        if self.requests >= self.mark:
            self.reached()
        self._tell_lighter()
        if self._emptied is not None and not self.connections and not self._emptied.done():
            self._emptied.set_result(None)
