"""Memory: how malloc keeps what was freed, and how often the kernel killed for lack of it."""

import ctypes
import os

KEEP = 1024 * 1024
"""Bytes of freed memory that stay with the process."""

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
        mallopt(_M_TRIM_THRESHOLD, KEEP)
        mallopt(_M_MMAP_THRESHOLD, KEEP)


class OutOfMemory:
    """Whether the kernel killed for lack of memory, from one question to the next."""

    def __init__(self) -> None:
        self._kills = out_of_memory_kills()

    def struck(self) -> bool:
        """Since the last question."""
        before, self._kills = self._kills, out_of_memory_kills()
        return before is not None and self._kills is not None and self._kills > before


def out_of_memory_kills() -> int | None:
    """How many so far in our cgroup (v2, memory.events); None when it cannot be told."""
    try:
        with open("/proc/self/cgroup") as file:
            own = next(line for line in file if line.startswith("0::"))
        path = own.split("::", 1)[1].strip()
        with open(f"/sys/fs/cgroup{path}/memory.events") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    except (OSError, StopIteration, ValueError):
        return None
