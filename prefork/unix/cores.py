"""How many cores this process may use: its affinity, cut by the CPU quota of its cgroup.

A quota of 1.5 cores gives 2: rounding down would leave half a core unused.
"""

import math
import os
from collections.abc import Iterator


def usable_cores(root: str = "/") -> int:
    """At least 1. ``root`` is where /proc and /sys are found."""
    quotas = [math.ceil(quota) for quota in _quotas(root)]
    return max(1, min([len(os.sched_getaffinity(0)), *quotas]))


def _quotas(root: str) -> Iterator[float]:
    """Cores granted by our cgroup and by each of its parents (v2, else v1)."""
    for line in (_read(os.path.join(root, "proc/self/cgroup")) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            for folder in _upward(os.path.join(root, "sys/fs/cgroup"), path):
                quota, _, period = (_read(f"{folder}/cpu.max") or "max").partition(" ")
                yield from _share(quota, period)
        elif "cpu" in controllers.split(","):
            for folder in _upward(os.path.join(root, "sys/fs/cgroup/cpu"), path):
                quota = _read(f"{folder}/cpu.cfs_quota_us") or ""
                yield from _share(quota, _read(f"{folder}/cpu.cfs_period_us") or "")


def _share(quota: str, period: str) -> Iterator[float]:
    if quota.isdigit() and period.isdigit() and int(period) > 0 and int(quota) > 0:
        yield int(quota) / int(period)


def _upward(base: str, path: str) -> Iterator[str]:
    """The folder of a cgroup and of all its parents; in a container only the last exist."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for length in range(len(parts), -1, -1):
        yield os.path.join(base, *parts[:length])


def _read(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None
