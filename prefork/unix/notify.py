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
from prefork.unix.descriptor_disposal import peek, shutdown_and_close
from prefork.unix.poller import Poller
from prefork.wire.notify import MAX_DATAGRAM_SIZE

_CREDENTIALS = struct.Struct("iII")
_CONTROL_SIZE = socket.CMSG_SPACE(_CREDENTIALS.size)
_MAX_MESSAGES = 32
"""Datagrams that are read at a time, so that no program holds the master up."""


@dataclass(frozen=True, slots=True)
class NotifyMessage:
    """One datagram, and who sent it."""

    data: bytes
    pid: int
    uid: int


def connect_notify_socket(address: str) -> int:
    """A descriptor; what is written to it is said there. Raises MachineError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect("\0" + address[1:])
        except OSError as error:
            raise MachineError(f"cannot speak to the master: {error.strerror}") from error
        return sock.detach()


class NotifySocket:
    """One for each program. Raises MachineError."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._socket.bind("")  # Linux chooses a free abstract name
        except OSError as error:
            raise MachineError(f"cannot open a notify socket: {error.strerror}") from error
        self.is_paused = False
        name = self._socket.getsockname()
        self.address = "@" + (name[1:].decode() if isinstance(name, bytes) else name[1:])

    def fileno(self) -> int:
        """Readable when something was said; -1 once it is closed."""
        return self._socket.fileno()

    def read(self) -> Iterator[NotifyMessage]:
        """What was said since the last call, without waiting. It stops after a notice with
        descriptors, and ``is_held`` is true until ``drop`` took that out of the queue."""
        for _ in range(_MAX_MESSAGES):
            if self._socket.fileno() < 0 or self.is_paused:
                return
            try:
                message = peek(self._socket, MAX_DATAGRAM_SIZE, _CONTROL_SIZE)
            except BlockingIOError:
                return
            self.is_paused = message.has_descriptors
            if not self.is_paused:
                self._socket.recv(1, socket.MSG_DONTWAIT)
            for level, kind, credentials in message.extra:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    pid, uid, _ = _CREDENTIALS.unpack(credentials[: _CREDENTIALS.size])
                    yield NotifyMessage(message.data, pid, uid)

    def discard_next(self) -> None:
        """In another process: the next notice, and what it brings."""
        self._socket.recv(1, socket.MSG_DONTWAIT)

    def hang_up(self, poller: Poller) -> None:
        """In the master, for good."""
        shutdown_and_close(poller, self._socket, _CONTROL_SIZE)

    def close(self) -> None:
        """In a child, for its copy; in the master while nothing has been said there."""
        self._socket.close()
