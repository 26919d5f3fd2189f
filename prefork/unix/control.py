"""The control socket: open it in the master, accept its clients, connect to it.

Only the owner of the master, and root, get in: the socket is 0600 in a 0700 folder, and the kernel
says who connects (SO_PEERCRED, unix(7)).
"""

import os
import socket
import struct
from pathlib import Path

from prefork.errors import MachineError

_ROOM_TO_SEND = 1024 * 1024
"""What a client has not read yet waits in the kernel; one that lets it overflow is dropped."""


class ControlSocket:
    """The listening end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        before = os.umask(0o177)
        try:
            with _reachable(path) as reachable:
                self._socket.bind(reachable)
            self._socket.listen(64)
        except OSError as error:
            self._socket.close()
            raise MachineError(f"cannot listen on {path}: {error.strerror}") from error
        finally:
            os.umask(before)

    def fileno(self) -> int:
        """Readable when somebody connects."""
        return self._socket.fileno()

    def accept(self) -> "Peer | None":
        """The next client; None when there is none."""
        try:
            taken, _ = self._socket.accept()
        except OSError:
            return None
        taken.setblocking(False)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM_TO_SEND)
        return Peer(taken)

    def close(self) -> None:
        """The path is the folder's to remove."""
        self._socket.close()


class Peer:
    """The master's end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.pid, self.uid, self.gid = struct.unpack("iii", credentials)

    @property
    def is_owner(self) -> bool:
        """Whether it may change anything."""
        return self.uid in (0, os.geteuid())

    def fileno(self) -> int:
        """Readable when it says something or leaves."""
        return self._socket.fileno()

    def read(self) -> bytes | None:
        """What it said; None: nothing yet; empty: it left."""
        try:
            return self._socket.recv(65536)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def send(self, data: bytes) -> bool:
        """Whether it was taken whole."""
        try:
            return self._socket.send(data) == len(data)
        except OSError:
            return False

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def connect(path: Path, timeout: float | None) -> socket.socket:
    """A client's connection. Raises MachineError when no master answers there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        with _reachable(path) as reachable:
            connection.connect(reachable)
    except OSError as error:
        connection.close()
        raise MachineError(f"no master answers on {path}: {error.strerror or error}") from error
    return connection


class _reachable:  # noqa: N801 - a verb, used in a with statement
    """A short name for a path that may be too long for a socket's address: by its folder."""

    def __init__(self, path: Path) -> None:
        self._folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._name = path.name

    def __enter__(self) -> str:
        return f"/proc/self/fd/{self._folder}/{self._name}"

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)
