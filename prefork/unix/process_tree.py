"""Who belongs to a program: its session, and its descendants, as /proc tells (proc(5)).

A program leads a session of its own, whose number is its pid. The kernel gives that number to
nobody else while one member lives, also when the leader is long dead.
"""

import ctypes
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

_PR_SET_CHILD_SUBREAPER = 36
_DEAD_STATES = ("Z", "X")


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process, as it was a moment ago."""

    pid: int
    parent: int
    session: int
    is_dead: bool


def read_process(pid: int) -> ProcessInfo | None:
    """None: there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in brackets may hold anything, brackets too.
            state, parent, _, session = file.read().rpartition(b")")[2].split()[:4]
    except (OSError, ValueError):
        return None
    return ProcessInfo(pid, int(parent), int(session), state.decode() in _DEAD_STATES)


def iter_processes() -> Iterator[ProcessInfo]:
    """All processes that can be seen."""
    for name in os.listdir("/proc"):
        if name.isdigit() and (found := read_process(int(name))) is not None:
            yield found


def session_members(session: int) -> list[int]:
    """The living of a session."""
    return [each.pid for each in iter_processes() if each.session == session and not each.is_dead]


def descendants(root: int) -> list[int]:
    """List ``root`` and all processes below it that are alive."""
    children: dict[int, list[int]] = {}
    for each in iter_processes():
        if not each.is_dead:
            children.setdefault(each.parent, []).append(each.pid)
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def is_in_session_or_descendant(pid: int, leader: int) -> bool | None:
    """Whether ``pid`` is of the session or a descendant of ``leader``; None: it is gone."""
    found = read_process(pid)
    if found is None:
        return None
    while found is not None and found.pid > 1:
        if leader in (found.pid, found.session):
            return True
        found = read_process(found.parent)
    return False


def signal_session(session: int, signum: int) -> None:
    """Signal all of a session; at once those of the leader's group, then the other groups."""
    try:
        os.killpg(session, signum)
    except (ProcessLookupError, PermissionError):
        pass  # nobody, or nobody whom we may signal, is left in it
    for each in list(iter_processes()):
        if each.session == session and not each.is_dead and not _is_in_group(each.pid, session):
            _signal_if_in_session(each.pid, session, signum)


def _is_in_group(pid: int, group: int) -> bool:
    try:
        return os.getpgid(pid) == group
    except ProcessLookupError:
        return True


def _signal_if_in_session(pid: int, session: int, signum: int) -> None:
    """By pidfd, and only if it is still who it was."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if os.getsid(pid) == session:
            signal.pidfd_send_signal(pidfd, signum)
    except (ProcessLookupError, PermissionError):
        pass  # it went meanwhile
    finally:
        os.close(pidfd)


def become_subreaper() -> None:
    """Become the parent of all descendants that lose theirs (prctl(2)), so that none escapes."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_adopted_orphans() -> None:
    """Kill and reap the children that came to us from other sessions: they outlived everything."""
    own = os.getsid(0)
    while found := [e for e in iter_processes() if e.parent == os.getpid() and e.session != own]:
        for each in found:
            os.kill(each.pid, signal.SIGKILL)  # a child of ours that we have not reaped
            os.waitpid(each.pid, 0)
