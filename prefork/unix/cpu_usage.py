"""How the CPU is used, from one look to the next: of what we may use, and by single processes.

A process that waits for a core looks like one that sleeps, to all but the kernel's scheduler:
schedstat (proc(5)) has the time on a core and the time ready to run without one.
"""

import os
from collections.abc import Iterable, Iterator

from prefork.unix.cgroup import number, read
from prefork.unix.cores import quotas

_IDLE = (3, 4)
"""Columns of /proc/stat: idle, and idle while a disk is waited for."""


class CoreUsage:
    """The share in use, by whomever, of the cores that we may use."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._before: dict[str, tuple[float, float]] = {}

    def measure(self, now: float) -> float:
        """Since the last look, 0 to 1: of our cores, or of our quota where that is nearer to its
        end. The first one is 0."""
        shares = [0.0]
        seen = dict(self._look(now))
        for name, (used, most) in seen.items():
            before_used, before_most = self._before.get(name, (used, most))
            if most > before_most:
                shares.append((used - before_used) / (most - before_most))
        self._before = seen
        return min(1.0, max(shares))

    def _look(self, now: float) -> Iterator[tuple[str, tuple[float, float]]]:
        """By name: what was used so far, and what could have been."""
        ours = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        busy = total = 0
        for line in (read(os.path.join(self._root, "proc/stat")) or "").splitlines():
            name, *columns = line.split()
            if name in ours:
                times = [int(column) for column in columns[:8]]  # guests are in the first two
                total += sum(times)
                busy += sum(times) - sum(times[column] for column in _IDLE)
        yield "cores", (busy, total)
        for folder, granted in quotas(self._root):
            used = number(f"{folder}/cpu.stat", "usage_usec")
            if used is None:
                spent = number(folder.replace("/cgroup/cpu", "/cgroup/cpuacct") + "/cpuacct.usage")
                used = spent // 1000 if spent is not None else None
            if used is not None:
                yield folder, (used / 1e6, now * granted)


class ProcessCpuShares:
    """What single processes made of their time, all their threads together."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[float, int, int]] = {}

    def measure(self, pids: Iterable[int], now: float) -> dict[int, tuple[float, float]]:
        """Since the last look: the share on a core, and the one ready to run with no core free. A
        process that is new has none yet."""
        shares: dict[int, tuple[float, float]] = {}
        seen: dict[int, tuple[float, int, int]] = {}
        for pid in pids:
            running, starving = _scheduled(pid)
            seen[pid] = (now, running, starving)
            then, before_running, before_starving = self._before.get(pid, seen[pid])
            if now > then:
                span = (now - then) * 1e9
                shares[pid] = (
                    max(0.0, running - before_running) / span,
                    max(0.0, starving - before_starving) / span,
                )
        self._before = seen
        return shares


def _scheduled(pid: int) -> tuple[int, int]:
    """Nanoseconds on a core, and ready without one; 0 where the kernel does not tell."""
    running = starving = 0
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return 0, 0  # it is gone
    for task in tasks:
        words = (read(f"/proc/{pid}/task/{task}/schedstat") or "").split()
        if len(words) == 3:
            running += int(words[0])
            starving += int(words[1])
    return running, starving
