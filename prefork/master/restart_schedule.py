"""The schedule of ``--cron``: when the next restart is due by the wall clock, which may jump.

Design
------
- **The wall clock is read every 30 seconds at least,** because the master waits by the monotonic
  clock. A clock that was put back by up to three hours brings no time twice.
- **Summer time** follows cronsim, which follows Debian's cron. In the hour that comes twice it may
  name a time that is over.
"""

from collections.abc import Callable
from datetime import datetime, tzinfo

from prefork.config.cron import first_time_after

MAX_WAIT = 30.0
"""The longest wait in seconds before the wall clock is read again."""

MAX_CLOCK_STEP_BACK = 3 * 3600.0
"""Seconds. A time does not become due twice because the clock was put back by less."""


class RestartSchedule:
    """The schedule. ``clock``: returns seconds since 1970. ``zone``: returns the time zone."""

    def __init__(self, clock: Callable[[], float], zone: Callable[[], tzinfo]) -> None:
        self._clock = clock
        self._zone = zone
        self._expressions: tuple[str, ...] = ()
        self._next_due: tuple[datetime, str] | None = None
        self._last_check_at = 0.0
        self._last_due_at = 0.0
        """The wall clock time when an expression was last due."""

    @property
    def next_due(self) -> tuple[datetime, str] | None:
        """The next time and its expression; None: there is no expression."""
        return self._next_due

    def seconds_to_next_check(self) -> float | None:
        """Return the seconds to the next check of the clock; None: none is needed."""
        if self._next_due is None:
            return None
        return min(MAX_WAIT, max(0.0, self._next_due[0].timestamp() - self._clock()))

    def pop_due(self, expressions: tuple[str, ...]) -> str | None:
        """Return the expression that became due since the last check; None: none did.

        Times that passed while the machine slept are made up for by one restart.
        """
        now = self._clock()
        due = None
        if expressions != self._expressions:
            self._expressions = expressions
            self._plan(now)
        elif self._next_due is not None and self._next_due[0].timestamp() <= now:
            due = self._next_due[1]
            self._last_due_at = now
            self._plan(now)
        elif now < self._last_check_at - 1.0:
            # The clock was put back. After a small step times until the last due one are over.
            is_small = 0.0 < self._last_due_at - now < MAX_CLOCK_STEP_BACK
            self._plan(self._last_due_at if is_small else now)
        self._last_check_at = now
        return due

    def _plan(self, after: float) -> None:
        """Find the first time after this one."""
        local = datetime.fromtimestamp(after, self._zone())
        self._next_due = first_time_after(self._expressions, local) if self._expressions else None
