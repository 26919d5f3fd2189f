"""The memory limit (``--max-memory``): the memory of each worker is measured once a second.

A worker is its process tree: its own process, those below it, and those of its session.

Design
------
- **The master measures from outside,** so it is the same for apps and for programs, and works for a
  worker that is stuck.
- **PSS, because a sum of RSS is wrong for a tree:** the processes of ``npm start`` share the text
  of node, and those that were forked share what was imported before.
- **RSS first, PSS only above the limit.** RSS of all processes of a worker costs 12 µs for a
  process and 11 µs for each of its threads, and is an upper bound of PSS. PSS costs 1 ms, and 20 ms
  for a gigabyte, because the kernel looks at each page. So it is read only for workers whose RSS is
  above the limit, and then not again for 50 times as long as that took.
- **Measuring takes at most two per cent of the time** (unix/measurement_pace.py). 200 workers that
  are ``npm start`` have 600 processes with 2,600 threads: to find them takes 125 ms, and their RSS
  15 ms, so they are measured every seven seconds.
"""

import logging
from collections.abc import Callable, Sequence
from random import random
from time import monotonic, thread_time

from prefork.config import Config
from prefork.config.value_types import format_size
from prefork.master.children import Children, WorkerProcess
from prefork.pool import Pool
from prefork.pool.workers import WorkerState
from prefork.unix.measurement_pace import PAUSE_FACTOR, MeasurementPace
from prefork.unix.memory_footprint import proportional_size, resident_size

INTERVAL = 1.0
"""Seconds from one measurement of all workers to the next, at least."""


class MemoryLimit:
    """Measures the workers. ``on_worn``: called with each worker above the limit, and with why."""

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
        self._pace = MeasurementPace(INTERVAL)
        self._is_on = False
        """True if there is a limit."""
        self._jitter_shares: dict[int, float] = {}
        """By worker, the part of the jitter that is added to its limit, from 0 to 1."""
        self._no_pss_before: dict[int, float] = {}
        """By worker, the monotonic time before which its PSS is not read."""
        self._is_fallback_logged = False

    def next_deadline(self) -> float | None:
        """Return the monotonic time of the next measurement; None: there is no limit."""
        return self._pace.due_at if self._is_on else None

    def run_due(self, config: Config) -> None:
        """Measure all workers if it is due."""
        self._is_on = config.max_memory is not None
        if config.max_memory is not None and self._pace.is_due(monotonic()):
            with self._pace.measure():
                self._measure_all(config, config.max_memory)

    def _measure_all(self, config: Config, limit: int) -> None:
        processes = [each for each in self._children if self._is_checked(each)]
        known = {each.worker for each in processes}
        self._jitter_shares = {w: self._jitter_shares.get(w, random()) for w in known}
        self._no_pss_before = {w: until for w, until in self._no_pss_before.items() if w in known}
        trees = self._children.trees.find(each.child.pid for each in processes)
        for process in processes:
            self._check(process.worker, config, limit, trees[process.child.pid])

    def _is_checked(self, process: WorkerProcess) -> bool:
        """Return whether the worker serves and is not already to be replaced."""
        worker = self._pool.workers.get(process.worker, WorkerState.READY)
        return worker is not None and not worker.worn

    def _check(self, worker: int, config: Config, limit: int, pids: Sequence[int]) -> None:
        extra = int(self._jitter_shares[worker] * config.max_memory_jitter)
        total = sum(map(resident_size, pids))
        if total <= limit + extra:
            return
        if config.max_memory_measure == "pss":
            if monotonic() < self._no_pss_before.get(worker, 0.0):
                return
            started_at = thread_time()
            total = sum(map(self._measure_pss, pids))
            took = thread_time() - started_at
            self._no_pss_before[worker] = monotonic() + PAUSE_FACTOR * took
        if total > limit + extra:
            jitter = f" + {_megabytes(extra)}" if extra else ""
            why = f"{_megabytes(total)} > --max-memory {format_size(limit)}{jitter}"
            self._on_worn(worker, why)

    def _measure_pss(self, pid: int) -> int:
        """Return the PSS of a process in bytes; its RSS if the kernel does not tell the PSS."""
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
