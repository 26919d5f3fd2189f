"""End the calls of an ASGI app that do not end by themselves while their worker drains.

A response without an end (server-sent events, a log that is followed) does not notice a stop unless
the app is told. It would be killed in the middle, without its ``finally`` blocks and without the
lifespan shutdown.

Design
------
- **Three steps:** ``http.disconnect``, cancellation, lifespan shutdown, all before the master's
  SIGKILL. uvicorn and hypercorn do the first two in this order as well.
- **Streams first.** Responses of unknown length are notified after ``--stream-timeout``, counted
  from when the worker first sees them stream. A response with a Content-Length, or a call that has
  not answered yet, will end by itself and is notified only shortly before the kill timeout ends.
- **An app that was notified may still end its response;** its bytes reach the client. One that
  returns in the middle is cut off, because a proper end would lie.
- **The lifespan shutdown keeps a quarter of the kill timeout,** at most 5 s
  (config/drain_times.py).
"""

import logging
from time import monotonic

from prefork.config.drain_times import DrainTimes
from prefork.worker.asgi.asgi_call import AsgiCall
from prefork.worker.asgi.asgi_handler import AsgiHandler


class CallDrainer:
    """Ends the calls of one worker by the schedule. ``tick`` is called with each heartbeat."""

    def __init__(self, handler: AsgiHandler, times: DrainTimes, log: logging.Logger) -> None:
        self._handler = handler
        self._times = times
        self._log = log
        self._stopped_at: float | None = None

    def start(self, stopped_at: float) -> None:
        """Begin the schedule; ``stopped_at``: when the stop signal came (monotonic seconds)."""
        self._stopped_at = stopped_at
        for call in list(self._handler.running):
            call.begin_drain()
        self.tick()

    @property
    def remaining(self) -> float:
        """Seconds until the calls are over, as far as cancellation ends them."""
        assert self._stopped_at is not None
        return self._stopped_at + self._times.cancel + self._times.grace / 2 - monotonic()

    def tick(self) -> None:
        """Notify and cancel the calls whose time has come. Does nothing before ``start``."""
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
        """Return whether the app of this call is to get its disconnect now.

        A response that begins while the worker drains gets as much time as the others.
        """
        if call.drain_notified_at is not None:
            return False
        if call.is_streaming and call.streaming_since is None:
            call.streaming_since = elapsed
        streaming_since = call.streaming_since
        too_long = streaming_since is not None and elapsed - streaming_since >= self._times.stream
        return too_long or elapsed >= self._times.disconnect

    def _is_cancellation_due(self, call: AsgiCall, elapsed: float) -> bool:
        """Return whether to cancel this call now: it was notified and its grace is over."""
        if call.drain_notified_at is None or call.cancelled_by_drain:
            return False
        return elapsed >= self._times.cancel or (
            call.is_streaming and elapsed - call.drain_notified_at >= self._times.grace
        )

    def _log_counts(self, notified: int, cancelled: int) -> None:
        """Log how many responses were notified and how many calls were cancelled."""
        if notified:
            self._log.info("stopping: %d unfinished responses were told to end", notified)
        if cancelled:
            self._log.warning(
                "stopping: cancelled %d calls of the app that went on; --stream-timeout and "
                "--kill-timeout say when",
                cancelled,
            )
