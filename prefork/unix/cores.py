"""How many cores this process may use: its affinity, cut by the CPU quota of its cgroup.

A quota of 1.5 cores gives 2: rounding down would leave half a core unused.
"""

import math
import os
from collections.abc import Iterator

from prefork.unix.cgroup import cgroup_folders, read_text


def usable_cores(root: str = "/") -> int:
    """At least 1. ``root`` is where /proc and /sys are found."""
    granted = [math.ceil(quota) for _, quota in quotas(root)]
    return max(1, min([len(os.sched_getaffinity(0)), *granted]))


def quotas(root: str = "/") -> Iterator[tuple[str, float]]:
    """Our cgroup and each of its parents that has a quota, with the cores that it grants."""
    for folder in cgroup_folders("cpu", root):
        quota, _, period = (read_text(f"{folder}/cpu.max") or "max").partition(" ")
        if not quota.isdigit():
            quota = read_text(f"{folder}/cpu.cfs_quota_us") or ""
            period = read_text(f"{folder}/cpu.cfs_period_us") or ""
        if quota.isdigit() and period.isdigit() and int(period) > 0 and int(quota) > 0:
            yield folder, int(quota) / int(period)
