"""The processes of each worker: its own, those below it, and those of its session.

The memory limit and the autoscaler measure workers by them. Behind ``npm start`` a worker is three
processes, and the last of them does the work.
"""

import os
from collections.abc import Iterable
from time import monotonic

from prefork.unix.measurement_pace import MeasurementPace
from prefork.unix.memory_footprint import child_pids, related_pids

INTERVAL = 1.0
"""Seconds between two looks at the processes of a worker, at least."""


class WorkerTrees:
    """The processes of the workers of one master, looked at as often as that costs little.

    A process that ended meanwhile has no memory and uses no CPU.
    """

    def __init__(self) -> None:
        self._trees: dict[int, list[int]] = {}
        self._pace = MeasurementPace(INTERVAL)

    def find(self, roots: Iterable[int]) -> dict[int, list[int]]:
        """Return the pids of the processes of each worker, by the pid of the worker."""
        wanted = list(roots)
        if self._pace.is_due(monotonic()):
            with self._pace.measure():
                self._look_at({*wanted, *self._trees})
        elif new := [root for root in wanted if root not in self._trees]:
            self._look_at(new)
        return {root: self._trees[root] for root in wanted}

    def forget(self, root: int) -> None:
        """Forget the processes of a worker that was reaped."""
        self._trees.pop(root, None)

    def _look_at(self, roots: Iterable[int]) -> None:
        adopted = child_pids(os.getpid())  # the orphans of programs
        for root in roots:
            self._trees[root] = related_pids(root, adopted)
