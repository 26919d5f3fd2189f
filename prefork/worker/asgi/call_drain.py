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

LIFESPAN_SHUTDOWN_TIME = 5.0
"""Seconds of the kill timeout that are kept for the lifespan shutdown; a quarter at the most."""

CANCELLATION_GRACE = 2.0
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
    cancel = kill_timeout - min(LIFESPAN_SHUTDOWN_TIME, kill_timeout / 4)
    grace = min(CANCELLATION_GRACE, kill_timeout / 8)
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
            call.begin_drain()
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
        notified = [call for call in running if self._is_notification_due(call, elapsed)]
        for call in notified:
            call.drain_notified_at = elapsed
            call.notify_drain()
        cancelled = [call for call in running if self._is_cancellation_due(call, elapsed)]
        for call in cancelled:
            call.cancel_for_drain()
        self._log_counts(
            sum(not call.exchange.response_complete for call in notified), len(cancelled)
        )

    def _is_notification_due(self, call: AsgiCall, elapsed: float) -> bool:
        """A response that begins while the worker drains gets as long as the others."""
        if call.drain_notified_at is not None:
            return False
        if call.is_streaming and call.streaming_since is None:
            call.streaming_since = elapsed
        streaming_since = call.streaming_since
        too_long = streaming_since is not None and elapsed - streaming_since >= self._times.stream
        return too_long or elapsed >= self._times.disconnect

    def _is_cancellation_due(self, call: AsgiCall, elapsed: float) -> bool:
        if call.drain_notified_at is None or call.cancelled_by_drain:
            return False
        return elapsed >= self._times.cancel or (
            call.is_streaming and elapsed - call.drain_notified_at >= self._times.grace
        )

    def _log_counts(self, notified: int, cancelled: int) -> None:
        if notified:
            self._log.info("stopping: %d unfinished responses were told to end", notified)
        if cancelled:
            self._log.warning(
                "stopping: cancelled %d calls of the app that went on; --stream-timeout and "
                "--kill-timeout say when",
                cancelled,
            )
