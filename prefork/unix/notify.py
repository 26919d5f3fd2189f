"""The socket on which one program says that it is ready: the receiving end of sd_notify(3).

Its address is abstract, so it needs no folder that every user may enter, and leaves nothing
behind. Anybody may write there; the kernel tells who did (SCM_CREDENTIALS in unix(7)).
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from prefork.errors import MachineError
from prefork.wire.notify import LONGEST

_CREDENTIALS = struct.Struct("iII")
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
        name = self._socket.getsockname()
        self.address = "@" + (name[1:].decode() if isinstance(name, bytes) else name[1:])

    def fileno(self) -> int:
        """Readable when something was said; -1 once it is closed."""
        return self._socket.fileno()

    def read(self) -> Iterator[Notice]:
        """What was said since the last call, without waiting."""
        room = socket.CMSG_SPACE(_CREDENTIALS.size)
        for _ in range(_MOST):
            if self._socket.fileno() < 0:
                return
            try:
                # Descriptors that come along (BARRIER=1) find no room, and the kernel closes them:
                # just what their sender waits for.
                data, extra, _, _ = self._socket.recvmsg(LONGEST, room)
            except BlockingIOError:
                return
            for level, kind, credentials in extra:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    pid, uid, _ = _CREDENTIALS.unpack(credentials[: _CREDENTIALS.size])
                    yield Notice(data, pid, uid)

    def close(self) -> None:
        """In master and children alike."""
        self._socket.close()
