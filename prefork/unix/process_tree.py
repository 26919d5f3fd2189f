"""Find, signal and reap the processes of a program: its session and its descendants (proc(5)).

A program leads a session of its own, whose number is its pid. The kernel gives that number to no
other process while one member of the session lives, also when the leader is long dead.

Design
------
- **A stop signal goes to the whole process group,** as systemd sends it. Otherwise the shell of
  ``sh -c "node server.js"`` would end alone.
- **A master with programs is a subreaper** (PR_SET_CHILD_SUBREAPER): orphans of its programs become
  its children. It reaps them, waits at its end for the remaining members of the sessions, and kills
  processes that left their session.
"""

import ctypes
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_PR_SET_CHILD_SUBREAPER = 36
_UTIME = 7
"""The place of utime, before stime, cutime and cstime, behind session in /proc/PID/stat."""
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_DEAD_STATES = ("Z", "X")
"""States of /proc/PID/stat: a zombie, and a process that is being removed."""


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process as /proc described it a moment ago.

    ``cpu_seconds``: the CPU time of its threads, and of its children that it has waited for.
    """

    pid: int
    parent: int
    session: int
    is_dead: bool
    cpu_seconds: float = 0.0


def read_process(pid: int) -> ProcessInfo | None:
    """Return parent, session, state and CPU time of a process; None when it does not exist."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may contain any character, parentheses too.
            state, parent, _, session, *others = file.read().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return None
    cpu_seconds = sum(map(int, others[_UTIME : _UTIME + 4])) / _TICKS_PER_SECOND
    is_dead = state.decode() in _DEAD_STATES
    return ProcessInfo(pid, int(parent), int(session), is_dead, cpu_seconds)


def iter_processes() -> Iterator[ProcessInfo]:
    """Yield all processes that /proc shows."""
    for name in os.listdir("/proc"):
        if name.isdigit() and (found := read_process(int(name))) is not None:
            yield found


class ProcessTable:
    """The processes of one look at /proc, by pid and by parent."""

    def __init__(self, processes: Iterable[ProcessInfo] | None = None) -> None:
        found = iter_processes() if processes is None else processes
        self._processes = {each.pid: each for each in found}
        self._related: dict[int, list[ProcessInfo]] = {}
        """By pid: the children, and the members of the session that the process leads or led."""
        for each in self._processes.values():
            for relative in {each.parent, each.session} - {each.pid}:
                self._related.setdefault(relative, []).append(each)

    def tree(self, root: int) -> list[ProcessInfo]:
        """Return the process ``root``, its descendants, and those of its session that lost their
        parent; empty when ``root`` does not exist.

        A program that was forked by a shell in the session of its terminal is no descendant of it,
        so only a session that began at ``root`` counts, not one that began above.
        """
        if root not in self._processes:
            return []
        found = {root: self._processes[root]}
        waiting = [root]
        for pid in waiting:  # the list grows during the loop
            for each in self._related.get(pid, ()):
                if each.pid not in found:
                    found[each.pid] = each
                    waiting.append(each.pid)
        return list(found.values())


def session_members(session: int) -> list[int]:
    """Return the pids of the living processes of a session."""
    return [each.pid for each in iter_processes() if each.session == session and not each.is_dead]


def descendants(root: int) -> list[int]:
    """Return the pids of ``root`` and of all living processes below it."""
    children: dict[int, list[int]] = {}
    for each in iter_processes():
        if not each.is_dead:
            children.setdefault(each.parent, []).append(each.pid)
    found = [root]
    for pid in found:  # the list grows during the loop
        found += children.get(pid, [])
    return found


def program_processes(leader: int, processes: Mapping[int, ProcessInfo]) -> list[ProcessInfo]:
    """Return the living processes in the session of ``leader`` or below it.

    ``processes``: all processes of one moment, by pid.
    """
    below: dict[int, list[int]] = {}
    for each in processes.values():
        below.setdefault(each.parent, []).append(each.pid)
    pids = [each.pid for each in processes.values() if leader in (each.session, each.pid)]
    known = set(pids)
    for pid in pids:  # the list grows during the loop
        new = [child for child in below.get(pid, ()) if child not in known]
        pids += new
        known.update(new)
    return [processes[pid] for pid in pids if not processes[pid].is_dead]


def is_in_session_or_descendant(pid: int, leader: int) -> bool | None:
    """Return whether ``pid`` is in the session of ``leader`` or below it; None when it is gone."""
    found = read_process(pid)
    if found is None:
        return None
    while found is not None and found.pid > 1:
        if leader in (found.pid, found.session):
            return True
        found = read_process(found.parent)
    return False


def signal_session(session: int, signum: int) -> None:
    """Send a signal to all processes of a session.

    The leader's process group gets it at once, then each process of the other groups.
    """
    # killpg(2) reaches all processes of the group at one moment, so none escapes by a fork.
    try:
        os.killpg(session, signum)
    except (ProcessLookupError, PermissionError):
        pass  # no process is left in the group, or none that may be signalled
    for each in list(iter_processes()):
        if each.session == session and not each.is_dead and not _is_in_group(each.pid, session):
            signal_member(each.pid, session, signum)


def _is_in_group(pid: int, group: int) -> bool:
    """Return whether the process is in the group; a process that has ended counts as well."""
    try:
        return os.getpgid(pid) == group
    except ProcessLookupError:
        return True


def signal_member(pid: int, session: int, signum: int) -> None:
    """Signal a process by its pidfd, provided that the pid still belongs to the session."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        # The pidfd holds the process; the check after it excludes a pid that was given anew.
        if os.getsid(pid) == session:
            signal.pidfd_send_signal(pidfd, signum)
    except (ProcessLookupError, PermissionError):
        pass  # the process has ended meanwhile
    finally:
        os.close(pidfd)


def become_subreaper() -> None:
    """Make this process the parent of all its descendants that lose theirs (prctl(2)).

    Without it an orphan becomes a child of PID 1 and escapes.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_adopted_orphans() -> None:
    """Kill and reap the adopted children of other sessions, repeatedly until none is left.

    A child may fork before it is killed, and its own children are adopted then.
    """
    own = os.getsid(0)
    while found := [e for e in iter_processes() if e.parent == os.getpid() and e.session != own]:
        for each in found:
            os.kill(each.pid, signal.SIGKILL)  # safe: an own child keeps its pid until it is reaped
            os.waitpid(each.pid, 0)
