"""The heartbeat of a ``main`` whose listeners are used by an event loop: it comes from that loop.

It beats a few times a second while a connection is open. While none is, the pauses double
(monitor/heartbeat.py says why), and the next connection brings the heartbeat forward.
"""

import asyncio

from prefork.http.tick import TICK_PERIOD
from prefork.worker.main.counted_listener import CountedListeners
from prefork.worker.master_channel import MasterChannel


class LoopHeartbeat:
    """The heartbeat of one worker; ``longest_pause``: seconds between two beats at most."""

    def __init__(
        self, channel: MasterChannel, counted: CountedListeners, longest_pause: float
    ) -> None:
        self.longest_pause = longest_pause
        self._channel = channel
        self._counted = counted
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next_beat: asyncio.TimerHandle | None = None
        self._pause = 0.0
        """Seconds from the last beat to the next one."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Beat from this loop on, unless another loop that is not closed does that already."""
        if self._loop is None or self._loop.is_closed():
            self._loop = loop
            self._beat()

    def wake(self) -> None:
        """Beat now after a long pause, because a connection was accepted in the loop."""
        if self._pause > TICK_PERIOD:
            self._pause = 0.0
            self._beat()

    def _beat(self) -> None:
        """Renew the deadline and plan the next beat."""
        assert self._loop is not None
        if self._next_beat is not None:
            self._next_beat.cancel()
        idle = self._channel.is_ready and not self._counted.is_busy and self._pause >= TICK_PERIOD
        self._pause = (
            max(TICK_PERIOD, min(2 * self._pause, self.longest_pause)) if idle else TICK_PERIOD
        )
        if self._channel.is_ready:
            self._channel.beat_until(self._pause)
        self._next_beat = self._loop.call_later(self._pause, self._beat)
