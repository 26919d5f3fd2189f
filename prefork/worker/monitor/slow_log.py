"""--slow-log: requests that take long, where they are meanwhile, and what blocks the event loop.

Whoever is slow is told when it ends. Who has no answer by then is told while it runs, once, with
its stack: by the loop, or, while something blocks the loop, by the watchdog's thread. WSGI
in the loop's thread always blocks it, so there only requests are told.
"""

import logging
import sys
from collections.abc import Callable
from time import monotonic

from prefork.http.exchange import Exchange
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

FINEST, COARSEST = 0.01, 0.25

MOST_AT_ONCE = 5
"""Requests that are shown with their places."""

LogAccess = Callable[[Exchange], None]


def check_interval(slow: float | None) -> float | None:
    """Seconds between two looks: what takes a tenth longer than allowed is seen while it does."""
    return None if slow is None else min(max(slow / 10, FINEST), COARSEST)


class SlowLog:
    """One per worker; the service calls ``over`` at the end of each request."""

    def __init__(
        self,
        slow: float,
        blocks: bool,
        info: WorkerInfo,
        watchdog: Watchdog,
        log: logging.Logger,
        log_access: LogAccess | None,
    ) -> None:
        """``blocks``: the app is called in the loop's thread, and may well block it."""
        self._slow = slow
        self._blocks = blocks
        self._period = check_interval(slow) or COARSEST
        self._who = f"worker {info.slot}"
        self._watchdog = watchdog
        self._log = log
        self._log_access = log_access
        self._beaten = self._told = monotonic()

    def start(self, service: ServerState) -> None:
        """From now on look, here and there."""
        self._service = service
        self._beaten = monotonic()
        self._beat()
        self._watchdog.check = self.check_loop

    def log_request_end(self, exchange: Exchange) -> None:
        """A request was answered, or left by its client."""
        started = exchange.started_at
        if started and (took := monotonic() - started) > self._slow:
            end = f"answered {exchange.status}" if exchange.status else "left by its client"
            what = describe(exchange)
            self._log.warning("slow: %s, %s after %.2fs (%s)", what, end, took, self._who)
        if self._log_access is not None:
            self._log_access(exchange)

    # In the loop.

    def _beat(self) -> None:
        now = monotonic()
        late = now - self._beaten - self._period
        if late > self._slow and not self._blocks:
            self._log.warning("slow: the event loop was blocked for %.2fs (%s)", late, self._who)
        self._beaten = now
        self._service.loop.call_later(self._period, self._beat)
        if slow := [each for each in self._unanswered() if call_duration(each) > self._slow]:
            self._tell_of(slow)

    def _unanswered(self) -> list[Exchange]:
        """Which nobody has told yet."""
        current = [connection.current for connection in self._service.active_connections]
        return [
            e
            for e in current
            if e is not None and e.started_at and not (e.status or e.is_logged_slow)
        ]

    def _tell_of(self, slow: list[Exchange]) -> None:
        """Of some, with their places; to show thousands would only add to the trouble."""
        works = find_running_requests(sys._current_frames())
        for exchange in slow[:MOST_AT_ONCE]:
            self._tell(works.get(exchange) or inspect_waiting_request(exchange))
        if more := slow[MOST_AT_ONCE:]:
            for exchange in more:
                exchange.is_logged_slow = True
            self._log.warning("slow: %d more have no answer either (%s)", len(more), self._who)

    def _tell(self, work: RequestStacks) -> None:
        exchange = work.exchange
        exchange.is_logged_slow = True
        text = (
            f"slow: {describe(exchange)} has no answer after "
            f"{call_duration(exchange):.2f}s ({self._who})"
        )
        if exchange.is_queued:
            self._log.warning("%s, it waits for a thread", text)
        else:
            self._log.warning("%s, it is at\n%s", text, format_stacks(work.stacks))

    # In the watchdog's thread.

    def check_loop(self) -> None:
        """See whether the loop still turns, and who holds it up."""
        beaten, late = self._beaten, monotonic() - self._beaten
        if late <= self._slow + self._period or beaten == self._told:
            return
        main = sys._current_frames()[self._watchdog.main]
        work = find_request_in_thread(self._watchdog.main, main)
        if self._blocks:
            if (
                work is not None
                and not work.exchange.is_logged_slow
                and call_duration(work.exchange) > self._slow
            ):
                self._tell(work)
            return
        self._told = beaten
        self._log.warning(
            "slow: the event loop is blocked for %.2fs%s (%s), at\n%s",
            late,
            "" if work is None else f" by {describe(work.exchange)}",
            self._who,
            format_stacks([extract_app_stack(main)] if work is None else work.stacks),
        )
