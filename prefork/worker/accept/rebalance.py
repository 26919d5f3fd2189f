"""``--rebalance``: close some connections of a worker that has many more than its siblings.

A connection that stays open stays with the worker that accepted it, also when other workers started
later, or when most of the busy clients are on one worker by chance. So a busy worker with too many
connections answers some clients with ``Connection: close``. They connect again, and the worker with
the least load accepts them.
"""

import random

from prefork.http.load import CONNECTION, REQUEST, UNAVAILABLE
from prefork.http.server_state import ServerState
from prefork.unix.scoreboard import Row
from prefork.worker.monitor.stats import WorkerStats

MAX_RATIO = 1.25
"""Too many connections, as a multiple of the mean of all workers."""

MIN_SURPLUS = 4
"""Too many connections, as a number above the mean: smaller differences are chance."""

MIN_BUSY = 0.5
"""Share of a worker's time in which it must have been busy: else no client waits for it."""

HEARTBEATS = 4
"""Heartbeats between two decisions, so that the clients have connected again in between."""


class Rebalancer:
    """Closes surplus connections of one worker."""

    def __init__(self, row: Row, server: ServerState, stats: WorkerStats) -> None:
        self._row = row
        self._server = server
        self._stats = stats
        self._heartbeats = 0

    def update(self) -> None:
        """Mark surplus connections to be closed with their next answer; acts once a second."""
        self._heartbeats += 1
        if self._heartbeats % HEARTBEATS or self._stats.busy_share < MIN_BUSY:
            return
        row = self._row
        surplus = count_surplus(row.loads[: row.rows.used].tolist(), row.number)
        if surplus:
            connections = self._server.connections
            movable = [each.movable for each in connections if each.movable is not None]
            going = random.sample(movable, min(surplus, len(movable)))
            for connection in going:
                connection.close_requested = True


def count_surplus(loads: list[int], place: int) -> int:
    """Return how many connections a worker should close: half of its surplus over the mean, so that
    the numbers do not swing. ``loads``: load words of all workers; ``place``: the index of this
    worker."""
    counts = [load % REQUEST // CONNECTION for load in loads if load != UNAVAILABLE]
    if loads[place] == UNAVAILABLE or len(counts) < 2:
        return 0
    own = loads[place] % REQUEST // CONNECTION
    mean = sum(counts) / len(counts)
    if own < mean * MAX_RATIO or own < mean + MIN_SURPLUS:
        return 0
    return int(own - mean) // 2
