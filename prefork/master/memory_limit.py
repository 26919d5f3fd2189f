"""Which workers have more memory than --max-memory, looked at once a second.

RSS costs some microseconds and is never less than PSS; so PSS, which costs the kernel a look at
each page, is only asked of workers whose RSS is over the limit, and of large ones more rarely.
"""

import logging
import os
from collections.abc import Callable
from random import random
from time import monotonic, perf_counter

from prefork.config import Config
from prefork.config.value_types import format_size
from prefork.master.children import Children, WorkerProcess
from prefork.pool import Pool
from prefork.pool.workers import State
from prefork.unix.memory_footprint import child_pids, proportional_size, related_pids, resident_size

EVERY = 1.0
"""Seconds from one look at all workers to the next."""

SHARE = 50
"""After a look that took a while, none at the same worker for so many times as long."""


class MemoryLimit:
    """``on_worn`` is told of each worker that is too large, and why."""

    def __init__(
        self,
        nursery: Children,
        pool: Pool,
        on_worn: Callable[[int, str], None],
        logger: logging.Logger,
    ) -> None:
        self._nursery = nursery
        self._pool = pool
        self._on_worn = on_worn
        self._logger = logger
        self._due: float | None = None
        """None: nobody asked for looks."""
        self._luck: dict[int, float] = {}
        """By worker: which part of the jitter is its."""
        self._rests: dict[int, float] = {}
        """By worker: no PSS before this time."""
        self._told = False

    def next_deadline(self) -> float | None:
        """When the next look is due."""
        return self._due

    def settle(self, config: Config) -> None:
        """Look, if it is time."""
        if config.max_memory is None:
            self._due = None
            return
        now = monotonic()
        if self._due is not None and now < self._due:
            return
        self._due = now + EVERY
        nurslings = [each for each in self._nursery if self._serves(each)]
        known = {each.worker for each in nurslings}
        self._luck = {w: self._luck.get(w, random()) for w in known}
        self._rests = {w: until for w, until in self._rests.items() if w in known}
        adopted = child_pids(os.getpid())
        for nursling in nurslings:
            self._look(nursling, config, config.max_memory, adopted)

    def _serves(self, nursling: WorkerProcess) -> bool:
        worker = self._pool.workers.get(nursling.worker, State.READY)
        return worker is not None and not worker.worn

    def _look(
        self, nursling: WorkerProcess, config: Config, limit: int, adopted: list[int]
    ) -> None:
        worker = nursling.worker
        extra = int(self._luck[worker] * config.max_memory_jitter)
        family = related_pids(nursling.child.pid, adopted)
        total = sum(map(resident_size, family))
        if total <= limit + extra:
            return
        if config.max_memory_measure == "pss":
            if monotonic() < self._rests.get(worker, 0.0):
                return
            begun = perf_counter()
            total = sum(map(self._proportional, family))
            self._rests[worker] = monotonic() + SHARE * (perf_counter() - begun)
        if total > limit + extra:
            jitter = f" + {_megabytes(extra)}" if extra else ""
            why = f"{_megabytes(total)} > --max-memory {format_size(limit)}{jitter}"
            self._on_worn(worker, why)

    def _proportional(self, pid: int) -> int:
        if (pss := proportional_size(pid)) is not None:
            return pss
        if not self._told:
            self._told = True
            self._logger.warning(
                "--max-memory goes by RSS: the kernel does not tell the master the PSS of pid %d",
                pid,
            )
        return resident_size(pid)


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.0f} MB" if size >= 100 * 2**20 else f"{size / 2**20:.1f} MB"
