"""Memory: tune malloc, read how much memory is left, and notice out-of-memory kills."""

import ctypes
import os
from collections.abc import Iterator

from prefork.unix.cgroup import cgroup_folders, own_cgroup_folders, read_number, read_text

KEPT_BYTES = 1024 * 1024
"""Bytes of freed memory that stay with the process."""

_NO_LIMIT = 1 << 60
"""Version 1 of cgroups reports a number above this one when there is no limit."""

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
"""Constants of malloc.h."""


def keep_freed_memory() -> None:
    """Let malloc reuse large blocks instead of returning each to the kernel (mallopt(3)).

    Bodies pass in blocks of 256 KB. By default each would be mapped, faulted in page by page and
    unmapped again: an upload of 10 MB cost 10 ms of CPU that way, and costs 3 ms now. MALLOC_…
    variables of the operator win. C libraries other than glibc have no such call, and nothing
    happens.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)


class OutOfMemoryDetector:
    """Notice that the kernel killed a process of this cgroup for lack of memory."""

    def __init__(self) -> None:
        self._kills = out_of_memory_kills()

    def has_new_kills(self) -> bool:
        """Return whether the kernel killed a process since the last call."""
        before, self._kills = self._kills, out_of_memory_kills()
        return before is not None and self._kills is not None and self._kills > before


def out_of_memory_kills(root: str = "/") -> int | None:
    """Return the number of kills in this cgroup; None when it is unknown.

    ``root`` contains proc and sys. memory.events is of version 2 of cgroups, memory.oom_control of
    version 1. The counters of cgroups around this one count other services as well.
    """
    for folder in own_cgroup_folders("memory", root):
        for name in ("memory.events", "memory.oom_control"):
            if (kills := read_number(f"{folder}/{name}", "oom_kill")) is not None:
                return kills
    return None


def available_memory(root: str = "/") -> tuple[int, int]:
    """Return the bytes that are still available and the total, of the tightest limit.

    That is the machine, or the cgroup around this process that has least left. Caches that can be
    dropped count as free. ``root`` contains proc and sys. (0, 0) when nothing can be read.
    """
    return min(_limits(root), default=(0, 0))


def _limits(root: str) -> Iterator[tuple[int, int]]:
    """Yield available and total bytes of the machine and of each cgroup with a limit."""
    machine = _kilobytes(os.path.join(root, "proc/meminfo"))
    if "MemTotal" in machine:
        yield machine.get("MemAvailable", 0), machine["MemTotal"]
    for folder in cgroup_folders("memory", root):
        most = read_number(f"{folder}/memory.max")
        used = read_number(f"{folder}/memory.current")
        cached = read_number(f"{folder}/memory.stat", "inactive_file")
        if most is None:
            # Version 1 of cgroups.
            most = read_number(f"{folder}/memory.limit_in_bytes")
            used = read_number(f"{folder}/memory.usage_in_bytes")
            cached = read_number(f"{folder}/memory.stat", "total_inactive_file")
        if most is not None and used is not None and most < _NO_LIMIT:
            yield max(0, most - used + (cached or 0)), most


def _kilobytes(path: str) -> dict[str, int]:
    """Parse lines such as ``MemTotal:  123 kB`` into bytes by name."""
    found: dict[str, int] = {}
    for line in (read_text(path) or "").splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == "kB" and words[1].isdigit():
            found[words[0].rstrip(":")] = int(words[1]) * 1024
    return found
