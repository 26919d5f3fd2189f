"""Worn workers whose app is busy (``prefork.busy()``): their replacement waits for that work.

Design
------
- **The master looks, the worker does not report.** ``prefork.busy()`` is a number in the worker's
  row of the scoreboard, which the master reads when it decides. No message is sent when work begins
  or ends, so an app may mark every request. The master looks once a second, and only while a
  replacement waits.
- **Only recycling waits.** A person requested a reload, a stop or a ``prefork scale``, so
  those are bounded by the kill timeout.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from prefork.pool import orders
from prefork.pool.table import WorkerTable

BUSY_CHECK_INTERVAL = 1.0
"""Seconds between two looks at a worn worker that is busy."""


@dataclass(slots=True)
class RecycleWait:
    """Tracks the worn workers that are busy.

    ``next_look_at``: monotonic time of the next look; None while no replacement waits.
    """

    next_look_at: float | None = None

    def check(self, workers: WorkerTable, now: float) -> Iterator[orders.Announce]:
        """Schedule the next look, and announce once for each worker that its replacement waits."""
        held_up = [worker for worker in workers.ready() if worker.worn and worker.is_busy]
        self.next_look_at = now + BUSY_CHECK_INTERVAL if held_up else None
        for worker in held_up:
            if not worker.is_wait_announced:
                worker.is_wait_announced = True
                yield orders.Announce(orders.RecycleWaits(*worker.identity, why=worker.worn))

    def cancel(self) -> None:
        """Schedule no look any more."""
        self.next_look_at = None
