"""The heartbeat of a worker: a few times a second, from the loop that serves.

A blocked loop misses its heartbeat, which is how the master notices. Periodic work that needs no
timer of its own happens here, too.

Design
------
- **A worker with nothing in flight beats every 8 s** (``LONGEST_IDLE_PAUSE``). The pauses double
  from 0.25 s on. An idle worker costs 0.003 % of a core instead of 0.07 %, and never wakes the
  master.
- **Load ends the long pause:** a change of the load word (``Load.tell_next_change``, which costs
  busy workers nothing), a connection that borrows a reader, or a listener. The clock, the Date
  field and the deadline are then of that moment, and the next heartbeat comes after 0.25 s. Open
  WebSockets, and connections of which nothing came yet, keep the worker awake: they have deadlines.
- **The price:** a loop that blocks with nothing in flight is found within ``--timeout`` and 8 s, at
  most twice ``--timeout``.
"""

import asyncio
from collections.abc import Callable, Sequence

from prefork.http.server_state import ServerState, do_nothing
from prefork.http.tick import TICK_PERIOD
from prefork.worker.master_channel import MasterChannel
from prefork.worker.monitor.stats import WorkerStats

LONGEST_IDLE_PAUSE = 8.0
"""Longest pause in seconds between two heartbeats while nothing is in flight; never more than
``--timeout``."""


class Heartbeat:
    """The heartbeat of one worker. ``refresh_policy`` and each of ``also`` are called at each
    heartbeat. ``longest``: seconds between two heartbeats, at most."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        server: ServerState,
        channel: MasterChannel,
        stats: WorkerStats,
        refresh_policy: Callable[[], None],
        also: Sequence[Callable[[], None]],
        longest: float = LONGEST_IDLE_PAUSE,
    ) -> None:
        self._loop = loop
        self._server = server
        self._channel = channel
        self._stats = stats
        self._refresh_policy = refresh_policy
        self._also = also
        self._longest = longest
        self._next: asyncio.TimerHandle | None = None
        self._pause = 0.0
        """Seconds from the last heartbeat to the next one; 0: load came meanwhile."""
        self._answered = 0
        """Requests that were answered until the last heartbeat."""
        self.is_pausing = False
        """True if the next heartbeat is further away than usual, so that load brings it forward."""

    def beat(self) -> None:
        """Do the work of a heartbeat now and schedule the next one: advance the deadlines of the
        server, publish the statistics, refresh the accept policy, set the deadline for the watchdog
        of the master."""
        self._end_pause()
        server = self._server
        usual = server.tick()
        wait = self._pause = self._next_pause(usual)
        self._stats.publish(server, self._loop.time(), wait)
        self._refresh_policy()
        for call in self._also:
            call()
        self._channel.schedule_next_beat(server.counters.oldest_app_call_at, wait)
        self._next = self._loop.call_later(wait, self.beat)
        if wait > usual:
            self.is_pausing = True
            server.on_activity = self.wake
            server.load.notify_on_next_change(self.wake)
            if not server.tickless_seconds():
                self.wake()  # one of the calls has accepted a connection

    def wake(self) -> None:
        """End a long pause: load has come while nothing was in flight.

        It looks at no connection, because it is called in the middle of the work on one.
        """
        if self.is_pausing:
            self._end_pause()
            self._pause = 0.0
            now = self._loop.time()
            self._server.clock.advance(now)
            self._stats.resume_after_idle(now, TICK_PERIOD)
            self._channel.beat_until(TICK_PERIOD)
            self._next = self._loop.call_later(TICK_PERIOD, self.beat)

    def wake_for_listener(self) -> None:
        """End a long pause: a listener has a connection, perhaps for a sibling."""
        if self.is_pausing:
            self.wake()
            self._refresh_policy()  # what it knows of the siblings is old

    def _end_pause(self) -> None:
        if self._next is not None:
            self._next.cancel()
        if self.is_pausing:
            self.is_pausing = False
            self._server.on_activity = do_nothing
            self._server.load.cancel_notification()

    def _next_pause(self, usual: float) -> float:
        """Return the seconds until the next heartbeat."""
        server = self._server
        idle = server.counters.requests == self._answered
        self._answered = server.counters.requests
        if not idle or self._pause < usual:
            return usual
        return max(usual, min(2 * self._pause, server.tickless_seconds(), self._longest))
