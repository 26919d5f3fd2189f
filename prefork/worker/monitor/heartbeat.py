"""The heartbeat of a worker: a few times a second, from the loop that serves.

A blocked loop misses it, and that is its point. All that is not worth a timer of its own happens
here, too.

While nothing is in flight the pauses double, up to QUIET: an idle worker costs next to nothing, and
a loop that blocks then is found within the timeout and one such pause. The first request or
connection wakes the heartbeat: clock, Date and deadline are as of that moment, and the next beat
comes after the usual time.
"""

import asyncio
from collections.abc import Callable, Sequence

from prefork.http.server_state import ServerState
from prefork.http.tick import TICK_PERIOD
from prefork.worker.master_channel import MasterChannel
from prefork.worker.monitor.stats import WorkerStats

LONGEST_IDLE_PAUSE = 8.0
"""Seconds between two beats, at most, while nothing is in flight; never more than the timeout."""


class Heartbeat:
    """Calls ``look_at_siblings`` and ``also`` at each beat; ``longest``: seconds between two."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        service: ServerState,
        channel: MasterChannel,
        stats: WorkerStats,
        refresh_policy: Callable[[], None],
        also: Sequence[Callable[[], None]],
        longest: float = LONGEST_IDLE_PAUSE,
    ) -> None:
        self._loop = loop
        self._service = service
        self._channel = channel
        self._stats = stats
        self._refresh_policy = refresh_policy
        self._also = also
        self._longest = longest
        self._next: asyncio.TimerHandle | None = None
        self._pause = 0.0
        """Seconds from the last beat to the next one; 0: something came meanwhile."""
        self._answered = 0
        """Requests at the last beat."""
        self.is_pausing = False
        """The next beat is further away than usual, and whatever comes brings it forward."""

    def beat(self) -> None:
        """Now, and from now on."""
        self._end_pause()
        service = self._service
        usual = service.tick()
        wait = self._pause = self._next_pause(usual)
        self._stats.publish(service, self._loop.time(), wait)
        self._refresh_policy()
        for call in self._also:
            call()
        self._channel.schedule_next_beat(service.oldest_app_call_at, wait)
        self._next = self._loop.call_later(wait, self.beat)
        if wait > usual:
            self.is_pausing = True
            service.on_activity = self.wake
            service.load.notify_on_next_change(self.wake)
            if not service.tickless_seconds():
                self.wake()  # one of the calls has taken a connection

    def wake(self) -> None:
        """Something has come while nothing was in flight.

        No connection is looked at here: this is called in the middle of the work on one.
        """
        if self.is_pausing:
            self._end_pause()
            self._pause = 0.0
            now = self._loop.time()
            self._service.advance(now)
            self._stats.resume_after_idle(now, TICK_PERIOD)
            self._channel.beat_until(TICK_PERIOD)
            self._next = self._loop.call_later(TICK_PERIOD, self.beat)

    def wake_for_listener(self) -> None:
        """Something has come to a listener, perhaps for a sibling."""
        if self.is_pausing:
            self.wake()
            self._refresh_policy()  # what is known of them is old

    def _end_pause(self) -> None:
        if self._next is not None:
            self._next.cancel()
        if self.is_pausing:
            self.is_pausing = False
            self._service.on_activity = lambda: None
            self._service.load.cancel_notification()

    def _next_pause(self, usual: float) -> float:
        """Until the next beat."""
        service = self._service
        idle = service.requests == self._answered
        self._answered = service.requests
        if not idle or self._pause < usual:
            return usual
        return max(usual, min(2 * self._pause, service.tickless_seconds(), self._longest))
