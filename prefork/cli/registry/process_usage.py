"""CPU and memory of the processes of apps.

Design
------
- **CPU in** ``list`` **is measured over a fifth of a second,** not since the start of the process,
  which says nothing about an app that has run for days. So ``list`` measures twice.
"""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psutil

from prefork.cli.registry.app_state import App, is_running
from prefork.unix.cores import usable_cores

CPU_SAMPLE_SECONDS = 0.2
"""Seconds over which CPU is measured when there is no earlier sample."""

MIN_INTERVAL = 0.1
"""Seconds between two samples, at least; a sooner one repeats the last percentage.

The kernel counts CPU time in steps of 10 ms.
"""


class UsageSampler:
    """A meter of CPU and memory of processes; it remembers the last sample of each."""

    def __init__(self) -> None:
        self._last_samples: dict[int, tuple[float, float, float]] = {}
        """By pid: time of the sample, CPU seconds used until then, percentage reported then."""

    def start(self, app: App) -> None:
        """Take a first sample of the app's processes, for the next call of ``sample``."""
        master = app.get("pid") if is_running(app) else None
        for pid in (master, *(worker.get("pid") for worker in app.get("workers", ()))):
            with suppress(psutil.Error):
                if pid and pid not in self._last_samples:
                    times = psutil.Process(pid).cpu_times()
                    self._last_samples[pid] = (time.monotonic(), times.user + times.system, 0.0)

    def sample(self, app: App) -> dict[str, Any]:
        """Return the app with ``cpu`` and ``memory``, of the whole app and of each of its workers.

        ``cpu``: percent of one core since the last sample; ``memory``: bytes, PSS. None: we may not
        look at the process.
        """
        workers = [
            {**worker, **self._sample_process(worker.get("pid"))}
            for worker in app.get("workers", ())
        ]
        processes = [self._sample_process(app.get("pid") if is_running(app) else None), *workers]
        totals = {name: _sum_known(part[name] for part in processes) for name in ("cpu", "memory")}
        return {**app, **totals, **({"workers": workers} if "workers" in app else {})}

    def _sample_process(self, pid: int | None) -> dict[str, float | int | None]:
        try:
            if not pid:
                raise psutil.NoSuchProcess(0)
            process = psutil.Process(pid)
            times = process.cpu_times()
            memory = int(process.memory_full_info().pss)
        except psutil.Error:
            return {"cpu": None, "memory": None}  # it has ended, or belongs to another user
        now, used = time.monotonic(), times.user + times.system
        sampled_at, used_before, percent = self._last_samples.get(pid, (now, used, 0.0))
        if now - sampled_at >= MIN_INTERVAL:
            percent = max(0.0, 100 * (used - used_before) / (now - sampled_at))
            sampled_at, used_before = now, used
        self._last_samples[pid] = (sampled_at, used_before, percent)
        return {"cpu": round(percent, 1), "memory": memory}


def measure_usage(apps: Sequence[App]) -> list[dict[str, Any]]:
    """Wait for CPU_SAMPLE_SECONDS and return all apps with their usage in that time."""
    sampler = UsageSampler()
    until = time.monotonic() + CPU_SAMPLE_SECONDS
    for app in apps:
        sampler.start(app)
    if apps:
        time.sleep(max(0.0, until - time.monotonic()))
    # Threads, because PSS takes long: the kernel visits each page of a process, 1 ms and more.
    with ThreadPoolExecutor(usable_cores()) as threads:
        return list(threads.map(sampler.sample, apps))


def _sum_known(processes: Iterable[Any]) -> Any:
    known = [part for part in processes if part is not None]
    return sum(known) if known else None
