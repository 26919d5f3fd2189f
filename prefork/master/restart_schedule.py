"""When --cron is due next. The clock of the wall may jump, so nobody waits for long by it."""

from collections.abc import Callable
from datetime import datetime, tzinfo

from prefork.config.cron import first_time_after

MAX_WAIT = 30.0
"""Seconds that the master waits at most before it looks at the clock again."""

MAX_CLOCK_STEP_BACK = 3 * 3600.0
"""A clock that is put back by less does not make a time come twice."""


class RestartSchedule:
    """``clock`` tells the seconds since 1970, ``zone`` the time zone, which may change, too."""

    def __init__(self, clock: Callable[[], float], zone: Callable[[], tzinfo]) -> None:
        self._clock = clock
        self._zone = zone
        self._expressions: tuple[str, ...] = ()
        self._next_due: tuple[datetime, str] | None = None
        self._last_check_at = 0.0
        self._last_due_at = 0.0
        """The last time that was due."""

    @property
    def next_due(self) -> tuple[datetime, str] | None:
        """The next time and its expression."""
        return self._next_due

    def seconds_to_next_check(self) -> float | None:
        """Seconds to the next look; None: for ever."""
        if self._next_due is None:
            return None
        return min(MAX_WAIT, max(0.0, self._next_due[0].timestamp() - self._clock()))

    def pop_due(self, expressions: tuple[str, ...]) -> str | None:
        """The expression whose time came since the last look. What came several times meanwhile,
        because the machine slept, is made up for once."""
        now = self._clock()
        came = None
        if expressions != self._expressions:
            self._expressions = expressions
            self._plan(now)
        elif self._next_due is not None and self._next_due[0].timestamp() <= now:
            came = self._next_due[1]
            self._last_due_at = now
            self._plan(now)
        elif now < self._last_check_at - 1.0:
            self._plan(
                self._last_due_at if 0.0 < self._last_due_at - now < MAX_CLOCK_STEP_BACK else now
            )
        self._last_check_at = now
        return came

    def _plan(self, moment: float) -> None:
        moment_there = datetime.fromtimestamp(moment, self._zone())
        self._next_due = (
            first_time_after(self._expressions, moment_there) if self._expressions else None
        )
