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
from prefork.pool.workers import WorkerState
from prefork.unix.memory_footprint import child_pids, proportional_size, related_pids, resident_size

INTERVAL = 1.0
"""Seconds from one look at all workers to the next."""

PSS_PAUSE_FACTOR = 50
"""After a look that took a while, none at the same worker for so many times as long."""


class MemoryLimit:
    """``on_worn`` is told of each worker that is too large, and why."""

    def __init__(
        self,
        children: Children,
        pool: Pool,
        on_worn: Callable[[int, str], None],
        logger: logging.Logger,
    ) -> None:
        self._children = children
        self._pool = pool
        self._on_worn = on_worn
        self._logger = logger
        self._due_at: float | None = None
        """None: nobody asked for looks."""
        self._jitter_shares: dict[int, float] = {}
        """By worker: which part of the jitter is its."""
        self._no_pss_before: dict[int, float] = {}
        """By worker: no PSS before this time."""
        self._is_fallback_logged = False

    def next_deadline(self) -> float | None:
        """When the next look is due."""
        return self._due_at

    def run_due(self, config: Config) -> None:
        """Look, if it is time."""
        if config.max_memory is None:
            self._due_at = None
            return
        now = monotonic()
        if self._due_at is not None and now < self._due_at:
            return
        self._due_at = now + INTERVAL
        processes = [each for each in self._children if self._is_checked(each)]
        known = {each.worker for each in processes}
        self._jitter_shares = {w: self._jitter_shares.get(w, random()) for w in known}
        self._no_pss_before = {w: until for w, until in self._no_pss_before.items() if w in known}
        adopted = child_pids(os.getpid())
        for process in processes:
            self._check(process, config, config.max_memory, adopted)

    def _is_checked(self, process: WorkerProcess) -> bool:
        worker = self._pool.workers.get(process.worker, WorkerState.READY)
        return worker is not None and not worker.worn

    def _check(
        self, process: WorkerProcess, config: Config, limit: int, adopted: list[int]
    ) -> None:
        worker = process.worker
        extra = int(self._jitter_shares[worker] * config.max_memory_jitter)
        family = related_pids(process.child.pid, adopted)
        total = sum(map(resident_size, family))
        if total <= limit + extra:
            return
        if config.max_memory_measure == "pss":
            if monotonic() < self._no_pss_before.get(worker, 0.0):
                return
            begun = perf_counter()
            total = sum(map(self._measure_pss, family))
            self._no_pss_before[worker] = monotonic() + PSS_PAUSE_FACTOR * (perf_counter() - begun)
        if total > limit + extra:
            jitter = f" + {_megabytes(extra)}" if extra else ""
            why = f"{_megabytes(total)} > --max-memory {format_size(limit)}{jitter}"
            self._on_worn(worker, why)

    def _measure_pss(self, pid: int) -> int:
        if (pss := proportional_size(pid)) is not None:
            return pss
        if not self._is_fallback_logged:
            self._is_fallback_logged = True
            self._logger.warning(
                "--max-memory goes by RSS: the kernel does not tell the master the PSS of pid %d",
                pid,
            )
        return resident_size(pid)


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.0f} MB" if size >= 100 * 2**20 else f"{size / 2**20:.1f} MB"
