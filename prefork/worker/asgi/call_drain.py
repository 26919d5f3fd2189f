"""How a draining worker ends the calls of an ASGI app that do not end by themselves.

A response without an end (server-sent events, a log that is followed) never hears of a stop unless
it is told: its app would be killed in the middle, without its ``finally`` blocks and without the
lifespan shutdown. So the app gets ``http.disconnect``, then a cancellation, and then the lifespan
ends, all before the master's SIGKILL. uvicorn and hypercorn do the first two in this order as well.
"""

import logging
from dataclasses import dataclass
from time import monotonic

from prefork.worker.asgi.asgi_call import AsgiCall
from prefork.worker.asgi.asgi_handler import AsgiHandler

SHUTDOWN = 5.0
"""Seconds of the kill timeout that are kept for the lifespan shutdown; a quarter at the most."""

GRACE = 2.0
"""Seconds from the disconnect to the cancellation; an eighth of the kill timeout at the most."""


@dataclass(frozen=True, slots=True)
class DrainTimes:
    """Seconds from the stop signal: when streams get their disconnect, when all other calls get
    it, and when all that still run are cancelled. ``grace``: from a disconnect to a cancellation
    that comes before that."""

    stream: float
    disconnect: float
    cancel: float
    grace: float


def drain_times(kill_timeout: float, stream_timeout: float) -> DrainTimes:
    """What the two options come to. With the defaults, 30 and 10: 10, 23, 25 and 2."""
    cancel = kill_timeout - min(SHUTDOWN, kill_timeout / 4)
    grace = min(GRACE, kill_timeout / 8)
    disconnect = cancel - grace
    return DrainTimes(min(stream_timeout, disconnect), disconnect, cancel, grace)


class CallDrainer:
    """Of one worker; ``tick`` is called with each heartbeat."""

    def __init__(self, handler: AsgiHandler, times: DrainTimes, log: logging.Logger) -> None:
        self._handler = handler
        self._times = times
        self._log = log
        self._stopped_at: float | None = None

    def start(self, stopped_at: float) -> None:
        """The worker drains; ``stopped_at``: when the stop signal came (monotonic)."""
        self._stopped_at = stopped_at
        for call in list(self._handler.running):
            call.drain()
        self.tick()

    @property
    def remaining(self) -> float:
        """Seconds until the calls of the app are over, as far as cancelling ends them."""
        assert self._stopped_at is not None
        return self._stopped_at + self._times.cancel + self._times.grace / 2 - monotonic()

    def tick(self) -> None:
        """Tell and cancel the calls that have gone on for long enough."""
        if self._stopped_at is None:
            return
        elapsed, running = monotonic() - self._stopped_at, self._handler.running
        told = [call for call in running if self._is_to_be_told(call, elapsed)]
        for call in told:
            call.told_at = elapsed
            call.tell_end()
        cancelled = [call for call in running if self._is_to_be_cancelled(call, elapsed)]
        for call in cancelled:
            call.tear_down()
        self._log_both(sum(not call.exchange.response_complete for call in told), len(cancelled))

    def _is_to_be_told(self, call: AsgiCall, elapsed: float) -> bool:
        """A response that begins while the worker drains gets as long as the others."""
        if call.told_at is not None:
            return False
        if call.streams and call.streams_since is None:
            call.streams_since = elapsed
        began = call.streams_since
        too_long = began is not None and elapsed - began >= self._times.stream
        return too_long or elapsed >= self._times.disconnect

    def _is_to_be_cancelled(self, call: AsgiCall, elapsed: float) -> bool:
        if call.told_at is None or call.torn_down:
            return False
        return elapsed >= self._times.cancel or (
            call.streams and elapsed - call.told_at >= self._times.grace
        )

    def _log_both(self, told: int, cancelled: int) -> None:
        if told:
            self._log.info("stopping: %d unfinished responses were told to end", told)
        if cancelled:
            self._log.warning(
                "stopping: cancelled %d calls of the app that went on; --stream-timeout and "
                "--kill-timeout say when",
                cancelled,
            )
