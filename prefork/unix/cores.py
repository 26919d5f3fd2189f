"""Count the cores that this process may use: its CPU affinity, reduced by the quota of its cgroup.

A quota of 1.5 cores counts as 2: rounding down would leave half a core unused.
"""

import math
import os
from collections.abc import Iterator

from prefork.unix.cgroup import cgroup_folders, read_text


def usable_cores(root: str = "/") -> int:
    """Return the number of usable cores, at least 1. ``root`` contains proc and sys."""
    granted = [math.ceil(quota) for _, quota in quotas(root)]
    return max(1, min([len(os.sched_getaffinity(0)), *granted]))


def quotas(root: str = "/") -> Iterator[tuple[str, float]]:
    """Yield folder and quota, in cores, of each cgroup around this process that has a quota."""
    for folder in cgroup_folders("cpu", root):
        quota, _, period = (read_text(f"{folder}/cpu.max") or "max").partition(" ")
        if not quota.isdigit():
            quota = read_text(f"{folder}/cpu.cfs_quota_us") or ""
            period = read_text(f"{folder}/cpu.cfs_period_us") or ""
        if quota.isdigit() and period.isdigit() and int(period) > 0 and int(quota) > 0:
            yield folder, int(quota) / int(period)
