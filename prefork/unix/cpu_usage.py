"""Measure CPU usage between two calls: of the cores that this process may use, and of processes.

Design
------
- **The scheduler is asked whether a process waits for a core** (schedstat, proc(5)): the time on a
  core, and the time ready to run without one. Without it a process that waits for a core looks like
  one that sleeps, and these are the cases in which more workers hurt or help.
- **Pressure (PSI) is not used:** it says that some process waited for a core, which a dozen
  sleepers that wake together do as well.
"""

import os
from collections.abc import Iterable, Iterator

from prefork.unix.cgroup import read_number, read_text
from prefork.unix.cores import quotas

_IDLE = (3, 4)
"""Columns of /proc/stat: idle, and idle while waiting for a disk (iowait)."""


class CoreUsage:
    """Measure the share of the usable cores that is in use, by any process."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._previous: dict[str, tuple[float, float]] = {}

    def measure(self, now: float) -> float:
        """Return the share in use since the last call, from 0 to 1; the first call returns 0.

        It is the share of the cores, or of the cgroup's quota where that is closer to its limit.
        ``now`` is monotonic, in seconds.
        """
        shares = [0.0]
        current = dict(self._read_usage(now))
        for name, (used, most) in current.items():
            before_used, before_most = self._previous.get(name, (used, most))
            if most > before_most:
                shares.append((used - before_used) / (most - before_most))
        self._previous = current
        return min(1.0, max(shares))

    def _read_usage(self, now: float) -> Iterator[tuple[str, tuple[float, float]]]:
        """Yield the used and the possible CPU time so far, for the cores and for each quota."""
        ours = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        busy = total = 0
        for line in (read_text(os.path.join(self._root, "proc/stat")) or "").splitlines():
            name, *columns = line.split()
            if name in ours:
                times = [int(column) for column in columns[:8]]  # without the guest columns
                total += sum(times)
                busy += sum(times) - sum(times[column] for column in _IDLE)
        yield "cores", (busy, total)
        for folder, granted in quotas(self._root):
            used = read_number(f"{folder}/cpu.stat", "usage_usec")
            if used is None:
                # In version 1 the usage is in another hierarchy than the quota.
                spent = read_number(
                    folder.replace("/cgroup/cpu", "/cgroup/cpuacct") + "/cpuacct.usage"
                )
                used = spent // 1000 if spent is not None else None
            if used is not None:
                yield folder, (used / 1e6, now * granted)


class ProcessCpuShares:
    """Measure the CPU time of single processes, with all threads of a process together."""

    def __init__(self) -> None:
        self._previous: dict[int, tuple[float, int, int]] = {}

    def measure(self, pids: Iterable[int], now: float) -> dict[int, tuple[float, float]]:
        """Return for each pid its shares since the last call: on a core, and ready without one.

        A process that is new has no shares yet. ``now`` is monotonic, in seconds.
        """
        shares: dict[int, tuple[float, float]] = {}
        current: dict[int, tuple[float, int, int]] = {}
        for pid in pids:
            running, waiting = _read_schedstat(pid)
            current[pid] = (now, running, waiting)
            then, before_running, before_waiting = self._previous.get(pid, current[pid])
            if now > then:
                span = (now - then) * 1e9
                shares[pid] = (
                    max(0.0, running - before_running) / span,
                    max(0.0, waiting - before_waiting) / span,
                )
        self._previous = current
        return shares


def _read_schedstat(pid: int) -> tuple[int, int]:
    """Return the nanoseconds on a core and ready without one; 0 where the kernel does not tell."""
    running = waiting = 0
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return 0, 0  # the process has ended
    for task in tasks:
        words = (read_text(f"/proc/{pid}/task/{task}/schedstat") or "").split()
        if len(words) == 3:
            running += int(words[0])
            waiting += int(words[1])
    return running, waiting
