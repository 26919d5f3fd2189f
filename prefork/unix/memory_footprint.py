"""Measure the memory of a process and find the processes to add up, as /proc tells (proc(5)).

Design
------
- **RSS first, PSS only when it matters.** RSS counts shared pages in each process, so the sum is an
  upper bound; it costs 12 µs for a process and 11 for each of its threads. PSS is exact and slow (1
  ms, 20 ms for a gigabyte), so only a worker whose RSS is above the limit is measured that way
  (master/memory_limit.py).
"""

import os
import re

from prefork.unix.process_tree import iter_processes

_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)


def resident_size(pid: int) -> int:
    """Return the resident set size (RSS) in bytes; 0 when the process is gone.

    Shared pages count in full. The call takes about 10 µs.
    """
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_SIZE
    except (OSError, IndexError):
        return 0


def proportional_size(pid: int) -> int | None:
    """Return the proportional set size (PSS) in bytes: a shared page counts by its share.

    0 when the process is gone; None when this user may not read it. The kernel visits each page: 1
    ms for the first 30 MB, 20 ms for a gigabyte.
    """
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            found = _PSS.search(file.read())
    except PermissionError:
        return None
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def child_pids(pid: int) -> list[int]:
    """Return the pids of the living children of a process; empty when it is gone."""
    found: list[int] = []
    try:
        # Each thread has its own list of children.
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    except FileNotFoundError:
        # Either the process has ended, or this kernel has no such files.
        if not _HAS_CHILDREN_FILES:
            return [
                each.pid for each in iter_processes() if each.parent == pid and not each.is_dead
            ]
    except OSError:
        pass  # the process has ended meanwhile
    return found


_HAS_CHILDREN_FILES = os.path.exists(f"/proc/self/task/{os.getpid()}/children")
"""True if the kernel was built with CONFIG_PROC_CHILDREN, as most are."""


def related_pids(pid: int, adopted: list[int]) -> list[int]:
    """Return ``pid``, its descendants, and the processes of its session that lost their parent.

    ``adopted``: the children of this process, which is the subreaper of those orphans.
    """
    found = [pid, *(each for each in adopted if each != pid and _session_of(each) == pid)]
    for each in found:  # the list grows during the loop
        found += [child for child in child_pids(each) if child not in found]
    return found


def _session_of(pid: int) -> int:
    """Return the session of a process; -1 when it is gone."""
    try:
        return os.getsid(pid)
    except OSError:
        return -1
