"""The sockets that processes have open, and what waits for them, as /proc shows it (proc(5)).

Design
------
- **The number of descriptors that are read is bounded,** over all processes of one look. A program
  may open a million descriptors, and the master must not read them all each tenth of a second.
  What lies beyond the bound counts as hidden, as does a process that this user may not look into.
"""

import ctypes
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

MAX_DESCRIPTORS = 10_000
"""Descriptors that are read in one look: about 30 ms on a machine of 2026."""

_PIDFD_GETFD = 438
"""The number of pidfd_getfd(2), which is the same on all machines."""

_libc = ctypes.CDLL(None, use_errno=True)

_EPOLL = "anon_inode:[eventpoll]"
_RING = "anon_inode:[io_uring]"


@dataclass(slots=True)
class ProcessSockets:
    """The sockets of one process: inode by descriptor; and its epoll and io_uring descriptors."""

    pid: int
    inodes: dict[int, int] = field(default_factory=dict)
    epolls: list[int] = field(default_factory=list)
    rings: list[int] = field(default_factory=list)


class SocketReader:
    """Reads the sockets of processes, up to MAX_DESCRIPTORS descriptors.

    ``is_complete``: nothing was hidden up to now.
    """

    def __init__(self) -> None:
        self.is_complete = True
        self._left = MAX_DESCRIPTORS

    def read(self, pid: int) -> ProcessSockets:
        """Return the sockets of a process; none of one that has ended."""
        found = ProcessSockets(pid)
        try:
            for fd, target in self._targets(pid):
                if target.startswith("socket:["):
                    found.inodes[fd] = int(target[8:-1])
                elif target == _EPOLL:
                    found.epolls.append(fd)
                elif target == _RING:
                    found.rings.append(fd)
        except (FileNotFoundError, ProcessLookupError):
            pass  # the process has ended
        except OSError:
            self.is_complete = False
        return found

    def _targets(self, pid: int) -> Iterator[tuple[int, str]]:
        """Yield descriptors of a process with what they lead to. Raises OSError."""
        folder = f"/proc/{pid}/fd"
        with os.scandir(folder) as entries:
            for entry in islice(entries, self._left):
                self._left -= 1
                try:
                    yield int(entry.name), os.readlink(f"{folder}/{entry.name}")
                except FileNotFoundError:
                    continue  # closed meanwhile
        if self._left <= 0:
            self.is_complete = False


def has_reuse_port(pid: int, fd: int) -> bool:
    """Return whether a socket of another process has SO_REUSEPORT; False if that cannot be seen."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        copy = _libc.syscall(_PIDFD_GETFD, pidfd, fd, 0)
    finally:
        os.close(pidfd)
    if copy < 0:
        return False
    try:
        with socket.socket(fileno=copy) as found:
            return found.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) != 0
    except OSError:
        return False
