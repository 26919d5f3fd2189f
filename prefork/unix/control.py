"""The control socket: open it in the master, accept its clients, connect to it.

Only the owner of the master, and root, get in: the socket is 0600 in a 0700 folder, and the kernel
says who connects (SO_PEERCRED, unix(7)). With a group it is 0660, the folder lets its members in,
and the master asks the kernel for the groups of its peer.
"""

import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prefork.errors import MachineError
from prefork.unix.descriptor_disposal import (
    UnexpectedDescriptorError,
    receive_plain,
    shutdown_and_close,
)
from prefork.unix.directory import Directory
from prefork.unix.poller import Poller
from prefork.unix.regular_file import file_kind

_SEND_BUFFER = 1024 * 1024
"""What a client has not read yet waits in the kernel; one that lets it overflow is dropped."""

_SO_PEERGROUPS = 59
"""unix(7) does not tell it, and neither does Python."""

_MAX_GROUPS = 256
"""Python's getsockopt has room for no more."""


class ControlSocket:
    """The listening end. ``for_group``: also for the group of its folder, which is setgid."""

    def __init__(self, path: Path, for_group: bool = False) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        old_umask = os.umask(0o117 if for_group else 0o177)
        try:
            with _short_path(path) as short_path:
                self._socket.bind(short_path)
            self._socket.listen(64)
        except OSError as error:
            self._socket.close()
            raise MachineError(f"cannot listen on {path}: {error.strerror}") from error
        finally:
            os.umask(old_umask)

    def fileno(self) -> int:
        """Readable when somebody connects."""
        return self._socket.fileno()

    def accept(self) -> "ControlConnection | None":
        """The next client; None when there is none."""
        try:
            client, _ = self._socket.accept()
        except OSError:
            return None
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        return ControlConnection(client)

    def close(self) -> None:
        """The path is the folder's to remove."""
        self._socket.close()


class ControlConnection:
    """The master's end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self.pid, self.uid, self.gid = _credentials(connection)

    @property
    def is_owner(self) -> bool:
        """Whether it may change anything."""
        return self.uid in (0, os.geteuid())

    def is_in_group(self, gid: int) -> bool:
        """Whether this was one of its groups when it connected."""
        if self.gid == gid:
            return True
        try:
            packed = self._socket.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS * 4)
        except OSError:
            return False  # it is in more groups than we can be told
        return gid in struct.unpack(f"{len(packed) // 4}I", packed)

    def fileno(self) -> int:
        """Readable when it says something or leaves."""
        return self._socket.fileno()

    def read(self) -> bytes | None:
        """What it said; None: nothing yet; empty: it left, or sent a descriptor."""
        try:
            return receive_plain(self._socket, 65536)
        except BlockingIOError:
            return None
        except (OSError, UnexpectedDescriptorError):
            return b""

    def send(self, data: bytes, fds: Sequence[int] = ()) -> bool:
        """Whether it was taken whole; ``fds``: descriptors that go with it."""
        try:
            if fds:
                return socket.send_fds(self._socket, [data], fds) == len(data)
            return self._socket.send(data, socket.MSG_DONTWAIT) == len(data)
        except OSError:
            return False

    def hang_up(self, poller: Poller) -> None:
        """For good, whatever it has still sent."""
        shutdown_and_close(poller, self._socket)

    def close(self) -> None:
        """In a child, for its copy."""
        self._socket.close()


def connect(path: Path, timeout: float | None) -> socket.socket:
    """A client's connection. Raises MachineError when no master answers there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if timeout is not None:
        # Blocking, because only then a full queue is waited for.
        wait = struct.pack("ll", int(timeout), int(timeout % 1 * 1_000_000) or 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
    try:
        with _pinned_path(path) as short_path:
            connection.connect(short_path)
        connection.settimeout(timeout)
    except OSError as error:
        connection.close()
        raise MachineError(f"no master answers on {path}: {error.strerror or error}") from error
    return connection


def is_listening(path: Path) -> bool:
    """Whether somebody does, though perhaps without answering."""
    try:
        connect(path, 1.0).close()
    except MachineError as error:
        return isinstance(error.__cause__, (TimeoutError, BlockingIOError))
    return True


def listener_pid(path: Path) -> int | None:
    """Of whoever listens there, whether it answers or not; None: nobody does."""
    try:
        with connect(path, 1.0) as connection:
            return peer_pid(connection)
    except MachineError:
        return None


def peer_pid(connection: socket.socket) -> int | None:
    """Of the process at the other end, of a listener's that began to listen; None: it is in
    another pid namespace."""
    return _credentials(connection)[0] or None


def _credentials(connection: socket.socket) -> tuple[int, int, int]:
    """Pid, uid and gid of the other end; of a listener those that it had when it began."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, gid = struct.unpack("iII", packed)
    return pid, uid, gid


class _short_path:  # noqa: N801 - a verb, used in a with statement
    """A short name for a path that may be too long for a socket's address: by its folder."""

    def __init__(self, path: Path) -> None:
        self._folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._name = path.name

    def __enter__(self) -> str:
        return f"/proc/self/fd/{self._folder}/{self._name}"

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)


@contextmanager
def _pinned_path(path: Path) -> Iterator[str]:
    """A name for the very socket that is there: a symlink to another one is not followed."""
    folder, name = Directory.open_parent(path)
    with folder:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.fd)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISSOCK(mode):
            raise OSError(errno.ENOTSOCK, f"it is {file_kind(mode)}, not a socket")
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
