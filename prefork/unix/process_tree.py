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
from collections.abc import Iterator
from dataclasses import dataclass

_PR_SET_CHILD_SUBREAPER = 36
_DEAD_STATES = ("Z", "X")
"""States of /proc/PID/stat: a zombie, and a process that is being removed."""


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process as /proc described it a moment ago."""

    pid: int
    parent: int
    session: int
    is_dead: bool


def read_process(pid: int) -> ProcessInfo | None:
    """Return parent, session and state of a process; None when it does not exist."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may contain any character, parentheses too.
            state, parent, _, session = file.read().rpartition(b")")[2].split()[:4]
    except (OSError, ValueError):
        return None
    return ProcessInfo(pid, int(parent), int(session), state.decode() in _DEAD_STATES)


def iter_processes() -> Iterator[ProcessInfo]:
    """Yield all processes that /proc shows."""
    for name in os.listdir("/proc"):
        if name.isdigit() and (found := read_process(int(name))) is not None:
            yield found


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
