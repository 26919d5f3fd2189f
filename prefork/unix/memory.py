"""Memory: how malloc keeps what was freed, how much there is, and who was killed for lack of it."""

import ctypes
import os
from collections.abc import Iterator

from prefork.unix.cgroup import cgroup_folders, read_number, read_text

KEPT_BYTES = 1024 * 1024
"""Bytes of freed memory that stay with the process."""

_NO_LIMIT = 1 << 60
"""Version 1 of cgroups writes something of this size."""

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> None:
    """Let malloc reuse large blocks instead of returning each to the kernel (mallopt(3)).

    Bodies pass in blocks of 256 KB. By default each would be mapped, faulted in page by page and
    unmapped again: 10 MB of upload cost 10 ms of CPU so, and 3 ms otherwise. Who sets MALLOC_...
    variables knows better; another C library than glibc has no such call.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)


class OutOfMemoryDetector:
    """Whether the kernel killed for lack of memory, from one question to the next."""

    def __init__(self) -> None:
        self._kills = out_of_memory_kills()

    def has_new_kills(self) -> bool:
        """Since the last question."""
        before, self._kills = self._kills, out_of_memory_kills()
        return before is not None and self._kills is not None and self._kills > before


def out_of_memory_kills() -> int | None:
    """How many so far in our cgroup (v2, memory.events); None when it cannot be told."""
    try:
        with open("/proc/self/cgroup", errors="replace") as file:
            own = next(line for line in file if line.startswith("0::"))
        path = own.split("::", 1)[1].strip()
        with open(f"/sys/fs/cgroup{path}/memory.events") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    except (OSError, StopIteration, ValueError):
        return None


def available_memory(root: str = "/") -> tuple[int, int]:
    """Bytes that may still be taken, and all there are, of the machine or of the cgroup around us
    that has least left. Caches that can be dropped are free. ``root`` is where /proc and /sys are.
    """
    return min(_limits(root), default=(0, 0))


def _limits(root: str) -> Iterator[tuple[int, int]]:
    machine = _kilobytes(os.path.join(root, "proc/meminfo"))
    if "MemTotal" in machine:
        yield machine.get("MemAvailable", 0), machine["MemTotal"]
    for folder in cgroup_folders("memory", root):
        most = read_number(f"{folder}/memory.max")
        used = read_number(f"{folder}/memory.current")
        cached = read_number(f"{folder}/memory.stat", "inactive_file")
        if most is None:
            most = read_number(f"{folder}/memory.limit_in_bytes")
            used = read_number(f"{folder}/memory.usage_in_bytes")
            cached = read_number(f"{folder}/memory.stat", "total_inactive_file")
        if most is not None and used is not None and most < _NO_LIMIT:
            yield max(0, most - used + (cached or 0)), most


def _kilobytes(path: str) -> dict[str, int]:
    """Lines such as ``MemTotal:  123 kB``, as bytes."""
    found: dict[str, int] = {}
    for line in (read_text(path) or "").splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == "kB" and words[1].isdigit():
            found[words[0].rstrip(":")] = int(words[1]) * 1024
    return found
