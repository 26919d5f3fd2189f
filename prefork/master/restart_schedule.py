"""When --cron is due next. The clock of the wall may jump, so nobody waits for long by it."""

from collections.abc import Callable
from datetime import datetime, tzinfo

from prefork.config.cron import first_time_after

LOOK = 30.0
"""Seconds that the master waits at most before it looks at the clock again."""

MOST_BACK = 3 * 3600.0
"""A clock that is put back by less does not make a time come twice."""


class RestartSchedule:
    """``clock`` tells the seconds since 1970, ``zone`` the time zone, which may change, too."""

    def __init__(self, clock: Callable[[], float], zone: Callable[[], tzinfo]) -> None:
        self._clock = clock
        self._zone = zone
        self._expressions: tuple[str, ...] = ()
        self._next: tuple[datetime, str] | None = None
        self._seen = 0.0
        self._came = 0.0
        """The last time that was due."""

    @property
    def next(self) -> tuple[datetime, str] | None:
        """The next time and its expression."""
        return self._next

    def patience(self) -> float | None:
        """Seconds to the next look; None: for ever."""
        if self._next is None:
            return None
        return min(LOOK, max(0.0, self._next[0].timestamp() - self._clock()))

    def settle(self, expressions: tuple[str, ...]) -> str | None:
        """The expression whose time came since the last look. What came several times meanwhile,
        because the machine slept, is made up for once."""
        now = self._clock()
        came = None
        if expressions != self._expressions:
            self._expressions = expressions
            self._plan(now)
        elif self._next is not None and self._next[0].timestamp() <= now:
            came = self._next[1]
            self._came = now
            self._plan(now)
        elif now < self._seen - 1.0:
            self._plan(self._came if 0.0 < self._came - now < MOST_BACK else now)
        self._seen = now
        return came

    def _plan(self, moment: float) -> None:
        moment_there = datetime.fromtimestamp(moment, self._zone())
        self._next = (
            first_time_after(self._expressions, moment_there) if self._expressions else None
        )
