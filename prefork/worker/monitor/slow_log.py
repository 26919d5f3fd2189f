"""``--slow-log``: requests that take long, where they are meanwhile, and what blocks the event
loop.

A slow request is logged when it ends. If it has no answer by the limit, it is also logged while it
runs, once, with its stack: by the loop, or, while something blocks the loop, by the watchdog's
thread. WSGI in the loop's thread always blocks it, so there only requests are logged.

Design
------
- **The slow log has a heartbeat of its own in the loop,** ten times as fine as its limit. The
  watchdog's thread checks whether it comes. The loop reports requests that wait, the thread reports
  the request that blocks the loop; the end is seen by wrapping the access log.
- **A request whose answer has begun is logged only at its end:** a stream that goes on is as it
  should be.
- **Without the option none of it exists,** and requests pay nothing.
"""

import logging
import sys
from collections.abc import Callable
from time import monotonic

from prefork.http.exchange import Exchange
from prefork.http.request import RequestHead
from prefork.http.server_state import ServerState
from prefork.worker.app_api import WorkerInfo
from prefork.worker.monitor.stack_report import (
    RequestStacks,
    call_duration,
    describe,
    extract_app_stack,
    find_request_in_thread,
    find_running_requests,
    format_stacks,
    inspect_waiting_request,
)
from prefork.worker.monitor.watchdog import Watchdog

MIN_INTERVAL, MAX_INTERVAL = 0.01, 0.25
"""Bounds of the seconds between two checks."""

MAX_DETAILED = 5
"""Requests that are logged with their stacks at a time."""

LogAccess = Callable[[Exchange], None]


def check_interval(slow: float | None) -> float | None:
    """Return the seconds between two checks: a request that exceeds the limit by a tenth is seen.

    None: there is no limit, and nothing is checked.
    """
    return None if slow is None else min(max(slow / 10, MIN_INTERVAL), MAX_INTERVAL)


class SlowLog:
    """The slow log of one worker. The service calls ``log_request_end`` at the end of
    each request."""

    def __init__(
        self,
        slow: float,
        app_in_loop: bool,
        info: WorkerInfo,
        watchdog: Watchdog,
        log: logging.Logger,
        log_access: LogAccess | None,
    ) -> None:
        """``slow``: the limit in seconds. ``app_in_loop``: the app is called in the loop's thread
        and may block it. ``log_access``: called at the end of each request; None: there is no
        access log."""
        self._slow = slow
        self._app_in_loop = app_in_loop
        self._interval = check_interval(slow) or MAX_INTERVAL
        self._worker_name = f"worker {info.slot}"
        self._watchdog = watchdog
        self._log = log
        self._log_access = log_access
        self._last_beat_at = self._reported_beat_at = monotonic()
        self._reported_head: RequestHead | None = None
        """The request that was logged last by ``check_loop``. Its exchange may be made anew."""

    def start(self, server: ServerState) -> None:
        """Check from now on: in the loop, and in the watchdog's thread."""
        self._server = server
        self._last_beat_at = monotonic()
        self._beat()
        self._watchdog.check = self.check_loop

    def log_request_end(self, exchange: Exchange) -> None:
        """Log a request that exceeded the limit, then call ``log_access``."""
        started = exchange.started_at
        if started and (duration := monotonic() - started) > self._slow:
            end = f"answered {exchange.status}" if exchange.status else "left by its client"
            what = describe(exchange)
            self._log.warning(
                "slow: %s, %s after %.2fs (%s)", what, end, duration, self._worker_name
            )
        if self._log_access is not None:
            self._log_access(exchange)

    # These run in the loop.

    def _beat(self) -> None:
        """Log if the loop was blocked since the last beat, and requests that exceed the limit."""
        now = monotonic()
        delay = now - self._last_beat_at - self._interval
        if delay > self._slow and not self._app_in_loop:
            self._log.warning(
                "slow: the event loop was blocked for %.2fs (%s)", delay, self._worker_name
            )
        self._last_beat_at = now
        self._server.loop.call_later(self._interval, self._beat)
        if slow := [each for each in self._find_unanswered() if call_duration(each) > self._slow]:
            self._report_slow(slow)

    def _find_unanswered(self) -> list[Exchange]:
        """Return the requests without an answer that were not logged yet."""
        return [
            exchange
            for connection in self._server.active_connections
            for exchange in connection.in_flight()
            if exchange.started_at and not (exchange.status or exchange.is_logged_slow)
        ]

    def _report_slow(self, slow: list[Exchange]) -> None:
        """Log some of them with their stacks, and the number of the others.

        To show thousands would only add to the load.
        """
        requests = find_running_requests(sys._current_frames())
        for exchange in slow[:MAX_DETAILED]:
            self._report(requests.get(exchange) or inspect_waiting_request(exchange))
        if more := slow[MAX_DETAILED:]:
            for exchange in more:
                exchange.is_logged_slow = True
            self._log.warning(
                "slow: %d more have no answer either (%s)", len(more), self._worker_name
            )

    def _report(self, request: RequestStacks) -> None:
        """Log a request without an answer, with its stacks."""
        exchange = request.exchange
        exchange.is_logged_slow = True
        text = (
            f"slow: {describe(exchange)} has no answer after "
            f"{call_duration(exchange):.2f}s ({self._worker_name})"
        )
        if exchange.is_queued:
            self._log.warning("%s, it waits for a thread", text)
        else:
            self._log.warning("%s, it is at\n%s", text, format_stacks(request.stacks))

    # This runs in the watchdog's thread.

    def check_loop(self) -> None:
        """Log if the loop is blocked at this moment, with the request or the stack
        that blocks it."""
        last_beat_at, delay = self._last_beat_at, monotonic() - self._last_beat_at
        if delay <= self._slow + self._interval or last_beat_at == self._reported_beat_at:
            return
        main = sys._current_frames()[self._watchdog.main]
        request = find_request_in_thread(self._watchdog.main, main)
        if self._app_in_loop:
            if (
                request is not None
                and request.exchange.request is not self._reported_head
                and call_duration(request.exchange) > self._slow
            ):
                self._reported_head = request.exchange.request
                self._report(request)
            return
        self._reported_beat_at = last_beat_at
        self._log.warning(
            "slow: the event loop is blocked for %.2fs%s (%s), at\n%s",
            delay,
            "" if request is None else f" by {describe(request.exchange)}",
            self._worker_name,
            format_stacks([extract_app_stack(main)] if request is None else request.stacks),
        )
