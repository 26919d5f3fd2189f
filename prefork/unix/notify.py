"""The notify socket of a program: the receiving end of sd_notify(3).

Its address is abstract, so it needs no folder that every user may enter, and leaves nothing behind.
Every process of the network namespace may write to it; the kernel tells the sender (SCM_CREDENTIALS
in unix(7)).

A message may bring descriptors: BARRIER=1 brings a pipe, and its sender waits until the receiver
closes it (sd_notify_barrier(3)). A hostile program may send any descriptor, so the master only
looks at such a message, and a child takes it out of the queue (unix/descriptor_disposal.py).

Design
------
- **One socket for each program,** so a message needs no search for the program it is about. Its
  sender is checked all the same: messages of the program's session and of its descendants count. A
  sender that has ended meanwhile counts if its user is right, because ``systemd-notify`` exits at
  once.
- **A program may write READY=1 to a descriptor as well** (``NOTIFY_FD``,
  ``connect_notify_socket``): Node and shells cannot send to a unix datagram socket, and would have
  to wait for ``--min-uptime`` or start a process for one message.
- **Figures go to a socket of their own** (``PREFORK_FIGURES_FD``), whose descriptor does not block.
  A program reports them from its event loop, which must not wait for a master that hangs; a report
  that is lost is made good by the next one. READY=1 is said once, and waits. Rejected: one socket
  for both. A READY=1 behind ten other messages would be lost, or a request would wait; and each
  report would wake the master, which reads this socket once a second (master/figures_reader.py).
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
"""Room for the credentials of a sender and no descriptor."""
_MAX_MESSAGES = 32
"""Datagrams that are read at a time, so that no program holds the master up."""


@dataclass(frozen=True, slots=True)
class NotifyMessage:
    """One datagram, and pid and uid of its sender."""

    data: bytes
    pid: int
    uid: int


def connect_notify_socket(address: str, blocking: bool = True) -> int:
    """Return a descriptor that is connected to ``address``; each write is one message.

    ``blocking``: a write waits while the master has ten messages to read; otherwise it fails with
    EAGAIN. Raises MachineError.
    """
    kind = socket.SOCK_DGRAM if blocking else socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
    with socket.socket(socket.AF_UNIX, kind) as sock:
        try:
            sock.connect("\0" + address[1:])
        except OSError as error:
            raise MachineError(
                f"cannot connect to the notify socket of the master: {error.strerror}"
            ) from error
        return sock.detach()


class NotifySocket:
    """The notify socket of one program; ``address`` is for its NOTIFY_SOCKET. Raises MachineError.

    ``is_paused`` is true while a message with descriptors waits in the queue.
    """

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            # Before bind(2), so that no message can arrive without credentials.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._socket.bind("")  # Linux chooses a free abstract name
        except OSError as error:
            raise MachineError(f"cannot open a notify socket: {error.strerror}") from error
        self.is_paused = False
        name = self._socket.getsockname()
        self.address = "@" + (name[1:].decode() if isinstance(name, bytes) else name[1:])

    def fileno(self) -> int:
        """Return the descriptor, which is readable when a message came; -1 once it is closed."""
        return self._socket.fileno()

    def read(self) -> Iterator[NotifyMessage]:
        """Yield the messages that have arrived.

        Reading stops after a message with descriptors: ``is_paused`` is true then, until
        ``discard_next`` was called in a child.
        """
        for _ in range(_MAX_MESSAGES):
            if self._socket.fileno() < 0 or self.is_paused:
                return
            try:
                message = peek(self._socket, MAX_DATAGRAM_SIZE, _CONTROL_SIZE)
            except BlockingIOError:
                return
            self.is_paused = message.has_descriptors
            if not self.is_paused:
                # The data was seen already: a read of one byte drops the whole datagram.
                self._socket.recv(1, socket.MSG_DONTWAIT)
            for level, kind, credentials in message.extra:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    pid, uid, _ = _CREDENTIALS.unpack(credentials[: _CREDENTIALS.size])
                    yield NotifyMessage(message.data, pid, uid)

    def discard_next(self) -> None:
        """Drop the next message and its descriptors; only for a child, because it may block."""
        self._socket.recv(1, socket.MSG_DONTWAIT)

    def hang_up(self, poller: Poller) -> None:
        """Close the master's socket for good."""
        shutdown_and_close(poller, self._socket, _CONTROL_SIZE)

    def close(self) -> None:
        """Close the socket: in a child, or in the master while no message can have arrived."""
        self._socket.close()
