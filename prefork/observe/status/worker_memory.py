"""The memory of the workers for the metrics and the page, measured in a thread.

Design
------
- **The figure is that of** ``list`` **and** ``--max-memory``: PSS of a worker and of the processes
  below it (unix/memory_footprint.py). A sum of RSS would count what processes share many times.
  Where the kernel does not tell PSS, it is RSS.
- **A thread measures,** because PSS takes milliseconds for each process, and the event loop answers
  health checks meanwhile. A response waits for a measurement that is due, but not for long: then it
  has the last one.
"""

import asyncio
from collections.abc import Sequence
from time import monotonic

from prefork.unix.measurement_pace import MeasurementPace
from prefork.unix.memory_footprint import child_pids, proportional_size, related_pids, resident_size

INTERVAL = 5.0
"""Seconds between two measurements of the same worker, at least."""

PATIENCE = 1.0
"""Seconds for which a response waits for a measurement."""


class WorkerMemory:
    """The memory of each worker in bytes, by its pid, as it was measured last.

    ``sizes``: PSS, or RSS for the pids that are not in ``exact``.
    """

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self.exact: set[int] = set()
        self._pace = MeasurementPace(INTERVAL)
        self._measuring: asyncio.Task[None] | None = None

    async def refresh(self, pids: Sequence[int], master: int) -> None:
        """Measure the workers with these pids if it is due. A new worker is measured at once.

        ``master``: its pid; the processes that lost their parent are its children.
        """
        if self._measuring is None or self._measuring.done():
            self._forget_others(pids)
            is_due = self._pace.is_due(monotonic())
            due = [pid for pid in pids if is_due or pid not in self.sizes]
            if not due:
                return
            self._measuring = asyncio.create_task(self._measure(due, master))
        await asyncio.wait({self._measuring}, timeout=PATIENCE)

    def _forget_others(self, pids: Sequence[int]) -> None:
        self.sizes = {pid: size for pid, size in self.sizes.items() if pid in pids}
        self.exact &= set(pids)

    async def _measure(self, pids: Sequence[int], master: int) -> None:
        with self._pace.measure():
            found = await asyncio.to_thread(_measure_trees, pids, master)
        for pid, (size, is_exact) in found.items():
            self.sizes[pid] = size
            (self.exact.add if is_exact else self.exact.discard)(pid)


def _measure_trees(pids: Sequence[int], master: int) -> dict[int, tuple[int, bool]]:
    """Return the bytes of each worker and of the processes below it, and whether they are PSS."""
    adopted = child_pids(master)
    sizes: dict[int, tuple[int, bool]] = {}
    for pid in pids:
        tree = related_pids(pid, adopted)
        parts = [proportional_size(each) for each in tree]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            sizes[pid] = (sum(known), True)
        else:
            sizes[pid] = (sum(map(resident_size, tree)), False)
    return sizes
