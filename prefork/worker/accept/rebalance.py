"""--rebalance: a worker with many more connections than its siblings lets some of them go.

Connections that stay open stay where they were accepted, also when a sibling was born only later,
or most of the busy clients happen to be on one worker. So who has too many and is busy answers some
clients with ``Connection: close``: they connect anew, and whoever has the least to do accepts them.
"""

import random

from prefork.http.connection import Connection
from prefork.http.load import CONNECTION, REQUEST, UNAVAILABLE
from prefork.http.server_state import ServerState
from prefork.unix.scoreboard import Row
from prefork.worker.monitor.stats import WorkerStats

MAX_RATIO = 1.25
"""Times the mean of all workers."""

MIN_SURPLUS = 4
"""Connections above the mean: with few of them it is chance."""

MIN_BUSY = 0.5
"""Share of its time in which a worker must have been busy, else nobody waits for it."""

HEARTBEATS = 4
"""Ticks between two looks, so that those who left have come back."""


class Rebalancer:
    """Of one worker."""

    def __init__(self, row: Row, service: ServerState, stats: WorkerStats) -> None:
        self._row = row
        self._service = service
        self._stats = stats
        self._heartbeats = 0

    def update(self) -> None:
        """See whether there are too many, once a second."""
        self._heartbeats += 1
        if self._heartbeats % HEARTBEATS or self._stats.busy_share < MIN_BUSY:
            return
        row = self._row
        surplus = count_surplus(row.loads[: row.rows.used].tolist(), row.number)
        if surplus:
            open_ones = [each for each in self._service.connections if isinstance(each, Connection)]
            going = random.sample(open_ones, min(surplus, len(open_ones)))
            for connection in going:
                connection.close_requested = True


def count_surplus(loads: list[int], place: int) -> int:
    """How many connections the worker at ``place`` should let go: half of what it has too much, so
    that nothing swings."""
    counts = [load % REQUEST // CONNECTION for load in loads if load != UNAVAILABLE]
    if loads[place] == UNAVAILABLE or len(counts) < 2:
        return 0
    own = loads[place] % REQUEST // CONNECTION
    mean = sum(counts) / len(counts)
    if own < mean * MAX_RATIO or own < mean + MIN_SURPLUS:
        return 0
    return int(own - mean) // 2
