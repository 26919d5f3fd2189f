"""Who takes the next connection: a worker that has as little to do as any of its siblings.

A shared listener is not fair by itself: the kernel wakes whom it likes, and who has just accepted
is awake and finds the next connection, too. So a worker that was woken compares its load
(http/load.py) with those of the others. It takes a connection only when no sibling has less, or
when more wait than those will take. Who has less was woken as well.

The rule does not rely on that. A sibling whose heartbeat is overdue does not count, and a
connection that has waited for as long as the guard is taken by any worker that sees it; a sibling
that let it wait so long does not count either until it beats again.
"""

from collections.abc import Callable
from time import monotonic

from prefork.config import Config
from prefork.http.load import CONNECTION, REQUEST, TURN_MASK, UNAVAILABLE, Load
from prefork.http.tick import TICK_PERIOD
from prefork.unix.scoreboard import Row

STALE_AFTER = 1.0
"""Seconds without a beat after which a sibling does not count. They beat four times a second; one
that is idle announces the time of its next beat, and does not count when that has passed by as
much."""

LONG_CALL = 0.002
"""Seconds of a call for which it matters behind whom a connection waits."""

TURN_UNITS = 65536
"""Units of a turn's time: its bits last for four minutes."""

TURN_EXPIRES_AFTER = 1.0
"""Seconds after which it does not matter any more when a worker had its last turn."""


class AcceptPolicy:
    """Of one worker. ``slack``: requests that it may have in flight more than the least loaded;
    ``limit``: requests in flight from which on it takes no new connection; None: any number.
    ``at_a_time``: requests that it can have in its app at once; 0: any number."""

    def __init__(
        self,
        row: Row,
        load: Load,
        slack: int,
        limit: int | None,
        guard: float,
        calls_at_once: int = 0,
    ) -> None:
        self.load = load
        self.guard = guard
        self._load_words, self._rows, self._row_number = row.loads, row.rows, row.number
        self._slack = slack * REQUEST
        self._calls_at_once = calls_at_once * REQUEST or UNAVAILABLE
        self._occupied_at = UNAVAILABLE
        self._limit = UNAVAILABLE if limit is None else limit * REQUEST
        self._accepted_at = 0.0
        self.is_unrestricted = False
        """At the last tick there was no sibling, not even one that boots, and there is no limit."""
        self._slow_siblings: dict[int, float] = {}
        """Siblings that let a connection wait, and their beat at that time."""

    def may_accept(
        self, has_answered: bool, has_waited: bool, count_waiting: Callable[[], int], /
    ) -> bool:
        """Whether one of the connections that wait is ours.

        Those that have less to do come first, until they have as much: what waits beyond that is
        ours. ``waiting`` tells how many there are, and is not asked when we have the least.
        ``busy``: we have answered something since we looked last. Who answers one request at a time
        looks only between two, when it seems to have none, while its siblings are seen with one.
        ``doubts``: nobody took it for a moment; only those count who are awake.
        """
        own = self.load.word
        if own >= self._limit:
            return False
        if has_answered and own < REQUEST:
            own += REQUEST
        own -= self._slack
        if own >= REQUEST and not has_waited:
            # Who has work to do leaves it, for a moment, to anybody who has no more: they may be
            # about to be done, and we may be about to be blocked.
            own |= TURN_MASK
        words = self._load_words[: self._rows.used].tolist()
        words[self._row_number] = own
        if own <= min(words):
            return True
        now = monotonic() if has_waited else 0.0
        first = 0
        for place, other in enumerate(words):
            if other < own and not (has_waited and self._is_asleep(place, now)):
                # As many as it takes before it has as much as we have.
                first += (
                    own // REQUEST - other // REQUEST
                    or own // CONNECTION - other // CONNECTION
                    or 1
                )
        # Whoever has its hands full, for long, would let them wait in a queue of its own.
        return not first or (own < self._occupied_at and count_waiting() > first)

    def record_accept(self) -> None:
        """A connection was taken: others come first now, if there is nothing else between us."""
        self._accepted_at = now = monotonic()
        load = self.load
        load.add((int(now * TURN_UNITS) & TURN_MASK) - (load.word & TURN_MASK))

    def refresh(self, mean: float, blocks: bool = False) -> None:
        """To be called often enough: a turn that is long ago would look like one to come.
        ``mean``: seconds that a request takes of late; ``blocks``: each keeps the worker for so
        long that it has no time for another, however many it could have at once."""
        occupied_at = (
            REQUEST if blocks and self._calls_at_once == UNAVAILABLE else self._calls_at_once
        )
        self._occupied_at = occupied_at if mean >= LONG_CALL else UNAVAILABLE
        if monotonic() - self._accepted_at > TURN_EXPIRES_AFTER:
            self.load.add(-(self.load.word & TURN_MASK))
        self.is_unrestricted = self._limit == UNAVAILABLE and self._rows.is_only_worker(
            self._row_number
        )

    def may_accept_overdue(self) -> bool:
        """Something has waited for as long as the guard: whether we may take it. Who had less to
        do and let it wait does not count until it beats again."""
        word = self.load.word
        for place, other in enumerate(self._load_words[: self._rows.used].tolist()):
            if other < word and place != self._row_number:
                self._slow_siblings[place] = self._rows.last_beat_at(place)
        return word < self._limit

    def defers_to_heirs(self) -> bool:
        """Whether this worker is to be replaced, and another that is not takes connections: what
        is accepted here has to go there soon."""
        rows, now = self._rows, monotonic()
        return rows.is_outdated(self._row_number) and any(
            other != UNAVAILABLE
            and not rows.is_outdated(place)
            and not self._is_overdue(place, now)
            for place, other in enumerate(self._load_words[: rows.used].tolist())
        )

    def _is_asleep(self, place: int, now: float) -> bool:
        beat = self._rows.last_beat_at(place)
        if place in self._slow_siblings:
            if self._slow_siblings[place] == beat:
                return True
            del self._slow_siblings[place]
        return self._is_overdue(place, now)

    def _is_overdue(self, place: int, now: float) -> bool:
        """Whether the worker of that row should have beaten a while ago."""
        return (
            now
            > max(self._rows.last_beat_at(place), self._rows.next_beat_at(place) - TICK_PERIOD)
            + STALE_AFTER
        )


class UnrestrictedAcceptPolicy(AcceptPolicy):
    """Takes whatever the kernel wakes it for, as other servers do."""

    def may_accept(
        self, _has_answered: bool, _has_waited: bool, _count_waiting: Callable[[], int], /
    ) -> bool:
        """Always, below the limit."""
        return self.load.word < self._limit

    def refresh(self, _mean: float, _blocks: bool = False) -> None:
        """There are no turns."""
        self.is_unrestricted = self._limit == UNAVAILABLE

    def record_accept(self) -> None:
        """There are none."""


def make_accept_policy(row: Row, load: Load, config: Config, calls_at_once: int) -> AcceptPolicy:
    """As the settings want it."""
    kind = AcceptPolicy if config.accept == "fair" else UnrestrictedAcceptPolicy
    limits = (config.accept_slack, config.accept_limit, config.accept_guard)
    return kind(row, load, *limits, calls_at_once)
