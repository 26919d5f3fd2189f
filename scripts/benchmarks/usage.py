"""Measures a process tree: its CPU time in nanoseconds, and its share of memory in bytes."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

# Fields of /proc/<pid>/stat (proc(5)), counted from the one after the command's name.
PARENT, REAPED_USER, REAPED_SYSTEM = 1, 13, 14


def cpu_ns(root: int) -> int:
    """Return the CPU time of `root` and its descendants, with ended threads and reaped children.

    The clock of a process counts nanoseconds; only reaped children are counted in ticks of 10 ms.
    """
    total = 0
    for pid in process_tree(root):
        with suppress(OSError):
            fields = _read_stat(pid)
            reaped = int(fields[REAPED_USER]) + int(fields[REAPED_SYSTEM])
            total += time.clock_gettime_ns(_cpu_clock(pid)) + reaped * TICK_NS
    return total


def pss_bytes(root: int) -> int:
    """Return the memory (PSS) of the tree; processes that map a page share its size."""
    return sum(map(process_pss_bytes, process_tree(root)))


def process_pss_bytes(pid: int) -> int:
    """Return the memory (PSS) of one process, 0 when it has exited."""
    with suppress(OSError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _cpu_clock(pid: int) -> int:
    """Return the id of another process's CPU clock, computed as clock_getcpuclockid(3) does."""
    return (~pid << 3) | 2


def process_tree(root: int) -> Iterator[int]:
    """Yield the pids of `root` and of all its descendants."""
    children = defaultdict(list)
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                children[int(_read_stat(int(entry.name))[PARENT])].append(int(entry.name))
    found = [root]
    while found:
        pid = found.pop()
        found += children[pid]
        yield pid


def _read_stat(pid: int) -> list[str]:
    """Return the fields after the command's name, which itself may contain spaces and brackets."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
