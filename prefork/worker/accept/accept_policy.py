"""Decide whether this worker or a sibling accepts the next connection.

A shared listener is not fair by itself. The kernel wakes an arbitrary worker, and a worker that has
just accepted is awake and finds the next connection, too. So each worker publishes its load as one
word (http/load.py). A worker that was woken compares its own word with those of its siblings: first
the requests in flight, then the connections, then the time of the last accept (the turn). It
accepts when no sibling has less load, or when more connections wait than the siblings with less
load will take; the kernel has woken these siblings as well.

No connection depends on the health of a sibling. A sibling whose heartbeat is overdue does not
count. A connection that has waited for ``--accept-guard`` is accepted by any worker that sees it,
and a sibling that let it wait does not count until its next heartbeat.

Design
------
- **Least load first, and what the less loaded will not take.** TCP_INFO of the listener tells how
  many wait. The second half matters, because a less loaded sibling may be asleep already, and
  nothing wakes it. Strict order alone cost two thirds of the connections a second.
- **A worker that answers one request at a time decides only between two requests,** when it seems
  idle while its siblings are seen at work. So a worker that has answered a request since its last
  decision counts one request more. A worker with requests in flight leaves a tie to the others for
  a millisecond. Where calls take long (2 ms on average) it accepts nothing while its app is fully
  occupied, because the connection would wait in a queue of its own.
- **A row says when its worker plans the next heartbeat** (``due``). Siblings, the autoscaler and
  readers judge a worker by that. An idle worker counts, since the connection has woken it as well.
  A worker that was stopped (SIGSTOP) while idle is passed over once it has let a connection wait
  for the guard.
- **A worker that will be replaced leaves new connections to its heirs, if it has had WebSockets,**
  for a second at most. Of 200 WebSockets on 4 workers a reload closed 2 to 72 a second time,
  because they had connected again to a worker that was replaced next; now it closes none of them
  twice. The master's part of the row says which workers are outdated. Plain HTTP is excluded: the
  first heir of many would get the load of all.
"""

from collections.abc import Callable
from time import monotonic

from prefork.config import Config
from prefork.http.load import CONNECTION, REQUEST, TURN_MASK, UNAVAILABLE, Load
from prefork.http.tick import TICK_PERIOD
from prefork.unix.scoreboard import Row

STALE_AFTER = 1.0
"""Seconds without a heartbeat after which a sibling does not count. Workers beat four times a
second. An idle worker publishes when its next heartbeat is due, and does not count once that is
overdue by as much."""

LONG_CALL = 0.002
"""Mean seconds of a call from which on a connection should not wait behind one."""

TURN_UNITS = 65536
"""Units per second of the turn in a load word, whose 24 bits wrap after four minutes."""

TURN_EXPIRES_AFTER = 1.0
"""Seconds after which the time of a worker's last accept no longer matters."""


class AcceptPolicy:
    """The policy ``--accept fair`` of one worker.

    ``slack``: requests that it may have in flight more than the least loaded sibling. ``limit``:
    requests in flight from which on it accepts nothing; None: no limit. ``guard``: seconds after
    which any worker may accept a waiting connection. ``calls_at_once``: calls that its app can run
    at once; 0: any number.
    """

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
        """True if every waiting connection is for this worker: at the last ``refresh`` it had no
        sibling, not even one that boots, and it has no limit."""
        self._slow_siblings: dict[int, float] = {}
        """Siblings that let a connection wait for the guard, each with its heartbeat at that time.
        """

    def may_accept(
        self, has_answered: bool, has_waited: bool, count_waiting: Callable[[], int], /
    ) -> bool:
        """Return whether this worker should accept one of the waiting connections.

        Siblings with less load come first, each until it has as much as this worker; a connection
        beyond that is for this worker. ``count_waiting`` returns the length of the queues; it is
        not called when this worker has the least load. ``has_answered``: this worker has answered a
        request since its last decision. A worker that serves one request at a time decides only
        between two requests, when its own load is zero while its siblings are seen with a request.
        ``has_waited``: a connection has waited for a moment already, so siblings whose heartbeat is
        overdue do not count.
        """
        own = self.load.word
        if own >= self._limit:
            return False
        if has_answered and own < REQUEST:
            # It seems idle only because it decides between two requests.
            own += REQUEST
        own -= self._slack
        if own >= REQUEST and not has_waited:
            # A worker with requests in flight leaves a tie to its siblings for a moment: they may
            # be about to finish, and this worker may be about to be blocked by a call.
            own |= TURN_MASK
        words = self._load_words[: self._rows.used].tolist()
        words[self._row_number] = own
        if own <= min(words):
            return True
        now = monotonic() if has_waited else 0.0
        first = 0
        for place, other in enumerate(words):
            if other < own and not (has_waited and self._is_asleep(place, now)):
                # As many as the sibling takes before its load equals ours.
                first += (
                    own // REQUEST - other // REQUEST
                    or own // CONNECTION - other // CONNECTION
                    or 1
                )
        # A fully occupied worker with long calls would let them wait in a queue of its own.
        return not first or (own < self._occupied_at and count_waiting() > first)

    def record_accept(self) -> None:
        """Note that this worker accepted a connection: at equal load its siblings come first
        now."""
        self._accepted_at = now = monotonic()
        load = self.load
        load.add((int(now * TURN_UNITS) & TURN_MASK) - (load.word & TURN_MASK))

    def refresh(self, mean: float, blocks: bool = False) -> None:
        """Update the figures that the decisions depend on. Called at each heartbeat, which also
        keeps an old turn from looking like a recent one.

        ``mean``: seconds that a request took lately. ``blocks``: each request keeps the worker so
        busy that it has no time for another one, however many its app could run at once.
        """
        occupied_at = (
            REQUEST if blocks and self._calls_at_once == UNAVAILABLE else self._calls_at_once
        )
        self._occupied_at = occupied_at if mean >= LONG_CALL else UNAVAILABLE
        if monotonic() - self._accepted_at > TURN_EXPIRES_AFTER:
            # The bits wrap: an old turn would look like a recent one.
            self.load.add(-(self.load.word & TURN_MASK))
        self.is_unrestricted = self._limit == UNAVAILABLE and self._rows.is_only_worker(
            self._row_number
        )

    def may_accept_overdue(self) -> bool:
        """Return whether this worker may accept a connection that has waited for the guard.

        The siblings with less load have let it wait. They are marked, and do not count until their
        next heartbeat.
        """
        word = self.load.word
        for place, other in enumerate(self._load_words[: self._rows.used].tolist()):
            if other < word and place != self._row_number:
                self._slow_siblings[place] = self._rows.last_beat_at(place)
        return word < self._limit

    def defers_to_heirs(self) -> bool:
        """Return whether this worker will be replaced while a current sibling accepts connections.
        A connection that this worker accepts would soon have to move there."""
        rows, now = self._rows, monotonic()
        return rows.is_outdated(self._row_number) and any(
            other != UNAVAILABLE
            and not rows.is_outdated(place)
            and not self._is_overdue(place, now)
            for place, other in enumerate(self._load_words[: rows.used].tolist())
        )

    def _is_asleep(self, place: int, now: float) -> bool:
        """Return whether a sibling does not count: its heartbeat is overdue, or has not come since
        it let a connection wait."""
        beat = self._rows.last_beat_at(place)
        if place in self._slow_siblings:
            if self._slow_siblings[place] == beat:
                return True
            del self._slow_siblings[place]
        return self._is_overdue(place, now)

    def _is_overdue(self, place: int, now: float) -> bool:
        """Return whether the worker of this row has missed its heartbeat for ``STALE_AFTER``."""
        return (
            now
            > max(self._rows.last_beat_at(place), self._rows.next_beat_at(place) - TICK_PERIOD)
            + STALE_AFTER
        )


class UnrestrictedAcceptPolicy(AcceptPolicy):
    """The policy ``--accept any``: accepts whenever the kernel wakes the worker, as other servers
    do."""

    def may_accept(
        self, _has_answered: bool, _has_waited: bool, _count_waiting: Callable[[], int], /
    ) -> bool:
        """Return whether the worker is below its limit."""
        return self.load.word < self._limit

    def refresh(self, _mean: float, _blocks: bool = False) -> None:
        """Update ``is_unrestricted``. This policy has no turns."""
        self.is_unrestricted = self._limit == UNAVAILABLE

    def record_accept(self) -> None:
        """Do nothing: this policy has no turns."""


def make_accept_policy(row: Row, load: Load, config: Config, calls_at_once: int) -> AcceptPolicy:
    """Return the accept policy that the settings ask for."""
    kind = AcceptPolicy if config.accept == "fair" else UnrestrictedAcceptPolicy
    limits = (config.accept_slack, config.accept_limit, config.accept_guard)
    return kind(row, load, *limits, calls_at_once)
