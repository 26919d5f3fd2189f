"""CPU and memory of apps: of each worker and all processes below it, and of the whole app.

Design
------
- **CPU in** ``list`` **is measured over a fifth of a second,** not since the start of the process,
  which says nothing about an app that has run for days. So ``list`` measures twice.
- **A worker is its process tree.** Behind ``npm start`` the worker is npm, and all the work is done
  two processes below. The same holds for apps that start processes.
- **CPU is the difference of two sums over the tree,** and each process counts with the time of its
  children that have ended (cutime of proc_pid_stat(5)). So the time of a process that lived for a
  moment is not lost, and none is counted twice.
- **Memory is PSS,** which divides a shared page among its processes, so it can be added up: npm and
  the server behind it share the text of node, and forked workers share what they imported. A sum of
  RSS counts these pages once for each process. ``--max-memory`` and the autoscaler go by the same
  sum.
- **One look at /proc finds the trees of all apps:** 10 µs and more for each process of the machine.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from prefork.cli.registry.app_state import App, is_running
from prefork.unix.cores import usable_cores
from prefork.unix.memory_footprint import proportional_size
from prefork.unix.process_tree import ProcessInfo, ProcessTable

CPU_SAMPLE_SECONDS = 0.2
"""Seconds over which CPU is measured when there is no earlier sample."""

MIN_INTERVAL = 0.1
"""Seconds between two samples, at least; a sooner one repeats the last percentage.

The kernel counts CPU time in steps of 10 ms.
"""


class UsageSampler:
    """A meter of CPU and memory of process trees; it remembers the last sample of each."""

    def __init__(self) -> None:
        self._last_samples: dict[int, tuple[float, float, float]] = {}
        """By pid of the root: time of the sample, CPU seconds until then, percentage then."""

    def start(self, apps: Iterable[App]) -> None:
        """Take a first sample of the apps' processes, for the next call of ``sample``."""
        table, now = ProcessTable(), time.monotonic()
        for root in (root for app in apps for root in _roots(app)):
            if root not in self._last_samples and (tree := table.tree(root)):
                self._last_samples[root] = (now, _cpu_seconds(tree), 0.0)

    def sample(self, apps: Sequence[App]) -> list[dict[str, Any]]:
        """Return the apps with ``cpu`` and ``memory``, of each whole app and of its workers.

        ``cpu``: percent of one core since the last sample; ``memory``: bytes, PSS. None: this user
        may not look at a process.
        """
        table, now = ProcessTable(), time.monotonic()
        percents = {
            root: self._measure_cpu(root, table.tree(root), now)
            for app in apps
            for root in _roots(app)
        }
        # Threads, because PSS takes long: the kernel visits each page of a process, 1 ms and more.
        with ThreadPoolExecutor(usable_cores()) as threads:
            measured = list(threads.map(partial(_describe_usage, table, percents), apps))
        known = {root for app in apps for root in _roots(app)}
        self._last_samples = {r: last for r, last in self._last_samples.items() if r in known}
        return measured

    def _measure_cpu(self, root: int, tree: Sequence[ProcessInfo], now: float) -> float | None:
        if not tree:
            return None  # it has ended
        used = _cpu_seconds(tree)
        sampled_at, used_before, percent = self._last_samples.get(root, (now, used, 0.0))
        if now - sampled_at >= MIN_INTERVAL:
            percent = max(0.0, 100 * (used - used_before) / (now - sampled_at))
            sampled_at, used_before = now, used
        self._last_samples[root] = (sampled_at, used_before, percent)
        return round(percent, 1)


def measure_usage(apps: Sequence[App]) -> list[dict[str, Any]]:
    """Wait for CPU_SAMPLE_SECONDS and return all apps with their usage in that time."""
    if not apps:
        return []
    sampler = UsageSampler()
    until = time.monotonic() + CPU_SAMPLE_SECONDS
    sampler.start(apps)
    time.sleep(max(0.0, until - time.monotonic()))
    return sampler.sample(apps)


def _roots(app: App) -> Iterator[int]:
    """Yield the pids of an app's master and workers."""
    pids = (app.get("pid") if is_running(app) else None, *map(_pid_of, app.get("workers", ())))
    yield from (pid for pid in pids if pid)


def _pid_of(worker: App) -> int | None:
    pid: int | None = worker.get("pid")
    return pid


def _describe_usage(
    table: ProcessTable, percents: dict[int, float | None], app: App
) -> dict[str, Any]:
    """Return the app with the usage of its workers and of all its processes together."""
    sizes: dict[int, int | None] = {}
    """By pid: the tree of the master contains those of its workers, and each is measured once."""

    def usage(root: int | None) -> dict[str, Any]:
        tree = table.tree(root) if root else []
        if not tree:
            return {"cpu": None, "memory": None}
        for each in tree:
            if each.pid not in sizes:
                sizes[each.pid] = proportional_size(each.pid)
        found = [sizes[each.pid] for each in tree]
        memory = None if None in found else sum(size for size in found if size)
        return {"cpu": percents[root] if root else None, "memory": memory}

    workers = [{**worker, **usage(worker.get("pid"))} for worker in app.get("workers", ())]
    whole = usage(app.get("pid") if is_running(app) else None)
    return {**app, **whole, **({"workers": workers} if "workers" in app else {})}


def _cpu_seconds(tree: Iterable[ProcessInfo]) -> float:
    return sum(each.cpu_seconds for each in tree)
