"""Work of apps (``prefork.busy()``) that a recycling waits for: when to look, and what is told.

Nothing tells its end; the pool is asked to look once a second, and only while it waits.
"""

from collections.abc import Iterator

from prefork.pool import orders
from prefork.pool.table import WorkerTable

BUSY_CHECK_INTERVAL = 1.0
"""Seconds between two looks at a worn worker that is busy."""


class RecycleWait:
    """``look_at``: when to look again; None: no recycling waits."""

    def __init__(self) -> None:
        self.next_look_at: float | None = None

    def check(self, workers: WorkerTable, now: float) -> Iterator[orders.Announce]:
        """See which worn workers are busy; each is told once."""
        held_up = [worker for worker in workers.ready() if worker.worn and worker.is_busy]
        self.next_look_at = now + BUSY_CHECK_INTERVAL if held_up else None
        for worker in held_up:
            if not worker.is_wait_announced:
                worker.is_wait_announced = True
                yield orders.Announce(orders.RecycleWaits(*worker.identity, why=worker.worn))

    def cancel(self) -> None:
        """No recycling waits any more: the end has begun."""
        self.next_look_at = None
