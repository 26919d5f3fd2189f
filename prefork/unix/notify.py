"""The socket on which one program says that it is ready: the receiving end of sd_notify(3).

Its address is abstract, so it needs no folder that every user may enter, and leaves nothing
behind. Anybody may write there; the kernel tells who did (SCM_CREDENTIALS in unix(7)).

A notice may bring descriptors: BARRIER=1 brings a pipe, and its sender waits until we close it
(sd_notify_barrier(3)). A hostile program may bring any, so such a notice is read here, and taken
out of the queue by another process (unix/descriptor_disposal.py).
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from prefork.errors import MachineError
from prefork.unix.descriptor_disposal import close_shut, look
from prefork.unix.poller import Waiter
from prefork.wire.notify import LONGEST

_CREDENTIALS = struct.Struct("iII")
_ROOM = socket.CMSG_SPACE(_CREDENTIALS.size)
_MOST = 32
"""Datagrams that are read at a time, so that no program holds the master up."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One datagram, and who sent it."""

    data: bytes
    pid: int
    uid: int


def speak(address: str) -> int:
    """A descriptor; what is written to it is said there. Raises MachineError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        try:
            line.connect("\0" + address[1:])
        except OSError as error:
            raise MachineError(f"cannot speak to the master: {error.strerror}") from error
        return line.detach()


class NotifySocket:
    """One for each program. Raises MachineError."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._socket.bind("")  # Linux chooses a free abstract name
        except OSError as error:
            raise MachineError(f"cannot open a notify socket: {error.strerror}") from error
        self.is_held = False
        name = self._socket.getsockname()
        self.address = "@" + (name[1:].decode() if isinstance(name, bytes) else name[1:])

    def fileno(self) -> int:
        """Readable when something was said; -1 once it is closed."""
        return self._socket.fileno()

    def read(self) -> Iterator[Notice]:
        """What was said since the last call, without waiting. It stops after a notice with
        descriptors, and ``is_held`` is true until ``drop`` took that out of the queue."""
        for _ in range(_MOST):
            if self._socket.fileno() < 0 or self.is_held:
                return
            try:
                seen = look(self._socket, LONGEST, _ROOM)
            except BlockingIOError:
                return
            self.is_held = seen.has_descriptors
            if not self.is_held:
                self._socket.recv(1, socket.MSG_DONTWAIT)
            for level, kind, credentials in seen.extra:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    pid, uid, _ = _CREDENTIALS.unpack(credentials[: _CREDENTIALS.size])
                    yield Notice(seen.data, pid, uid)

    def drop(self) -> None:
        """In another process: the next notice, and what it brings."""
        self._socket.recv(1, socket.MSG_DONTWAIT)

    def hang_up(self, waiter: Waiter) -> None:
        """In the master, for good."""
        close_shut(waiter, self._socket, _ROOM)

    def close(self) -> None:
        """In a child, for its copy; in the master while nothing has been said there."""
        self._socket.close()
