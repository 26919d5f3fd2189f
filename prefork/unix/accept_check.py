"""Check whether processes accept connections on listening sockets that others share (proc(5)).

A program inherits its listening sockets, so other processes accept on the same ones. The kernel
does not tell which: sock_diag(7) and /proc/net know the socket, not the processes that wait for it.
But each process shows what it waits for:

    epoll         fdinfo of the epoll descriptor lists the inodes that it watches, with events
    accept        a thread is blocked in accept(2) on a descriptor of the socket
    poll, select  a thread is blocked there, and its arguments name a descriptor of the socket
    io_uring      fdinfo lists a pending accept
    busy          it holds a connection that was accepted at the address of the socket

Design
------
- **/proc is read; no connection is made.** A sibling might accept it, so an answer proves nothing
  during a reload and for more than one worker, and a program would see a client that sends nothing.
  Rejected as well: ptrace(2), which stops the program, and BPF, which needs root.
- **Certain** is what epoll, accept, poll and select show: the process asks the kernel for the next
  connection at this moment. A socket that is watched may still be ignored by the code behind it;
  no look from outside can tell.
- **Nearly certain:** an io_uring does not tell which socket its pending accept is for, so a process
  that has the socket and such an accept counts. A connection may have been handed over by a
  process that accepted it; it counts only for a process that holds the listening socket, too.
- **Not certain is the absence** (``is_complete``): a process of another user without
  CAP_SYS_PTRACE, a kernel without these files (gVisor), a machine whose numbers of system calls
  are not known here, or a 32-bit program. The caller has to decide by time then.
- **A look may come between two calls of accept,** when a thread runs. So one look without a result
  means nothing, and the caller looks again. A program that is so busy that it never waits is found
  by the connections that it holds.
"""

import os
import re
import struct
from collections.abc import Callable, Collection, Iterable, Set
from dataclasses import dataclass, field

from prefork.unix.process_sockets import ProcessSockets, SocketReader

MAX_THREADS = 2000
"""Threads that are looked at in one look."""

_MAX_FDINFO_SIZE = 1024 * 1024
"""Bytes of the file of an epoll descriptor that are read: about ten thousand sockets."""

_MAX_POLLED = 8192
"""Descriptors of a call of poll(2) that are read."""

_POLLIN = 0x1 | 0x40
"""EPOLLIN and EPOLLRDNORM: the process wants to know of connections."""

_WATCHED = re.compile(rb"^tfd:\s*(\d+) events:\s*([0-9a-f]+) .*\bino:([0-9a-f]+)", re.MULTILINE)
"""A line about one watched file in fdinfo of an epoll descriptor (proc(5))."""

_PENDING_ACCEPT = re.compile(rb"^\s*op=13,", re.MULTILINE)
"""A pending IORING_OP_ACCEPT in fdinfo of an io_uring."""

_GENERIC = {202: "accept", 242: "accept", 73: "poll", 72: "select"}
"""Numbers of accept, accept4, ppoll and pselect6 in asm-generic/unistd.h."""
_SYSTEM_CALLS = {
    "x86_64": {43: "accept", 288: "accept", 7: "poll", 271: "poll", 23: "select", 270: "select"},
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
}
"""The calls that wait for a connection, by machine and number."""

_LOWEST_STACK_64 = 1 << 32
"""A lower stack pointer is that of a 32-bit program, whose numbers of system calls are others."""


@dataclass(frozen=True, slots=True)
class AcceptCheck:
    """The result of a look.

    ``accepted``: the inodes of those sockets that a process accepts on. ``is_complete``: whether
    everything could be seen; if not, a process may accept on the other sockets as well.
    ``holders``: the pids of the processes that have one of the sockets open.
    """

    accepted: frozenset[int]
    is_complete: bool
    holders: tuple[int, ...] = field(default=(), compare=False)


def find_accepting(
    pids: Iterable[int], wanted: Set[int], accepted_connections: Callable[[], Collection[int]]
) -> AcceptCheck:
    """Look which of the sockets with the inodes ``wanted`` the processes accept on.

    ``accepted_connections``: returns the inodes of all connections at the addresses of these
    sockets; called only if the look finds nothing else.
    """
    look = _Look(wanted)
    holders = [found for pid in pids if (found := look.read(pid)).inodes]
    for sockets in holders:
        look.check_waiting(sockets)
    if look.missing:
        _add_holders_of_connections(look, holders, accepted_connections)
    pids_with_socket = tuple(each.pid for each in holders if wanted & set(each.inodes.values()))
    return AcceptCheck(frozenset(look.accepted), look.is_complete, pids_with_socket)


def _add_holders_of_connections(
    look: "_Look",
    holders: Iterable[ProcessSockets],
    accepted_connections: Callable[[], Collection[int]],
) -> None:
    """Count the sockets of processes that hold connections which were accepted there."""
    holding = [each for each in holders if look.missing & set(each.inodes.values())]
    connections = accepted_connections() if holding else ()
    for sockets in holding:
        inodes = set(sockets.inodes.values())
        if inodes.intersection(connections):
            look.accepted |= look.missing & inodes


class _Look:
    """One look at several processes."""

    def __init__(self, wanted: Set[int]) -> None:
        self._wanted = wanted
        self._reader = SocketReader()
        self._threads_left = MAX_THREADS
        self._calls = _SYSTEM_CALLS.get(os.uname().machine)
        self._sees_all = True
        self.accepted: set[int] = set()

    @property
    def missing(self) -> set[int]:
        """The inodes of sockets that no process was seen to accept on."""
        return set(self._wanted - self.accepted)

    @property
    def is_complete(self) -> bool:
        """Return whether nothing was hidden."""
        return self._sees_all and self._reader.is_complete

    def read(self, pid: int) -> ProcessSockets:
        """Return the sockets of a process."""
        return self._reader.read(pid)

    def check_waiting(self, sockets: ProcessSockets) -> None:
        """Find out which of the sockets this process waits for."""
        for fd in sockets.epolls:
            self._check_epoll(sockets.pid, fd)
        held = {fd: inode for fd, inode in sockets.inodes.items() if inode in self.missing}
        if held and any(
            _PENDING_ACCEPT.search(self._fdinfo(sockets.pid, fd)) for fd in sockets.rings
        ):
            self.accepted.update(held.values())
        elif held:
            self._check_threads(sockets.pid, held)

    def _check_epoll(self, pid: int, fd: int) -> None:
        for _, events, inode in _WATCHED.findall(self._fdinfo(pid, fd)):
            if int(events, 16) & _POLLIN and int(inode, 16) in self._wanted:
                self.accepted.add(int(inode, 16))

    def _fdinfo(self, pid: int, fd: int) -> bytes:
        """Return what the kernel tells about a descriptor; empty if it is closed."""
        try:
            with open(f"/proc/{pid}/fdinfo/{fd}", "rb") as file:
                return file.read(_MAX_FDINFO_SIZE)
        except (FileNotFoundError, ProcessLookupError):
            return b""
        except OSError:
            self._sees_all = False
            return b""

    def _check_threads(self, pid: int, held: dict[int, int]) -> None:
        """Look for threads that are blocked in a call on one of these sockets."""
        if self._calls is None:
            self._sees_all = False
            return
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except FileNotFoundError:
            return  # the process has ended
        if len(threads) > self._threads_left:
            self._sees_all = False
        for thread in threads[: self._threads_left]:
            self._threads_left -= 1
            for fd in self._waited_for(pid, thread):
                if fd in held:
                    self.accepted.add(held[fd])

    def _waited_for(self, pid: int, thread: str) -> Collection[int]:
        """Return the descriptors on which a blocked thread waits for a connection."""
        words = self._system_call(pid, thread)
        # "running", or "-1 SP PC" of a thread that is blocked outside of a system call.
        if len(words) != 9 or self._calls is None:
            return ()
        if int(words[7], 16) < _LOWEST_STACK_64:
            self._sees_all = False
            return ()
        first, second = int(words[1], 16), int(words[2], 16)
        match self._calls.get(int(words[0])):
            case "accept":
                return (first & 0xFFFFFFFF,)
            case "poll":
                return self._polled(pid, first, second)
            case "select":
                return self._selected(pid, first, second)
            case _:
                return ()

    def _system_call(self, pid: int, thread: str) -> list[bytes]:
        """Return what the kernel tells about the call that a thread is blocked in: its number, six
        arguments, stack pointer and program counter."""
        try:
            with open(f"/proc/{pid}/task/{thread}/syscall", "rb") as file:
                return file.read(1000).split()
        except ProcessLookupError:
            pass  # it has ended
        except OSError:
            # It has ended, the kernel has no such file, or it is not for this user.
            self._sees_all &= not os.path.exists(f"/proc/{pid}/task/{thread}")
        return []

    def _polled(self, pid: int, address: int, count: int) -> Collection[int]:
        """Return the descriptors of an array of struct pollfd (poll(2))."""
        data = self._read_memory(pid, address, 8 * min(count, _MAX_POLLED))
        whole = data[: len(data) // 8 * 8]
        return [fd for fd, events, _ in struct.iter_unpack("=ihh", whole) if events & _POLLIN]

    def _selected(self, pid: int, count: int, address: int) -> Collection[int]:
        """Return the descriptors in a set of select(2), whose highest is ``count`` - 1."""
        data = self._read_memory(pid, address, (min(count, _MAX_POLLED) + 63) // 64 * 8)
        # An array of longs, whose bits are in this order on little-endian machines, as ours are.
        return [fd for fd in range(min(count, 8 * len(data))) if data[fd // 8] >> fd % 8 & 1]

    def _read_memory(self, pid: int, address: int, size: int) -> bytes:
        """Return memory of a process; empty if it ended or changed meanwhile."""
        try:
            with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
                return os.pread(file.fileno(), size, address)
        except PermissionError:
            self._sees_all = False
        except (OSError, OverflowError):
            pass  # the call has returned, and the address means nothing any more
        return b""
