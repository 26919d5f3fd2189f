"""The control socket: listen in the master, accept its clients, connect to it as a client.

Only the owner of the master and root can connect: the socket has mode 0600 in a folder of mode
0700. The kernel tells the master the credentials of each client (SO_PEERCRED, unix(7)). With
``--control-group`` the socket has mode 0660 and its folder admits the group; the master asks the
kernel for the groups of each client (SO_PEERGROUPS).
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
"""Bytes of answers that wait in the kernel for a client that does not read. A client that lets them
overflow is disconnected."""

_SO_PEERGROUPS = 59
"""The option of getsockopt(2) for a peer's groups; neither unix(7) nor Python names it."""

_MAX_GROUPS = 256
"""Python's getsockopt returns 1024 bytes at most, which are so many groups."""


class ControlSocket:
    """The listening socket of a master.

    ``for_group``: the group of its folder may connect as well; the folder is setgid. Raises
    MachineError.
    """

    def __init__(self, path: Path, for_group: bool = False) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        # bind(2) applies the umask. A chmod(2) afterwards would leave a moment in between.
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
        """Return the descriptor, which is readable when a client connects."""
        return self._socket.fileno()

    def accept(self) -> "ControlConnection | None":
        """Return the next client; None when none waits."""
        try:
            client, _ = self._socket.accept()
        except OSError:
            return None
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        return ControlConnection(client)

    def close(self) -> None:
        """Close the socket; its path is removed with the folder."""
        self._socket.close()


class ControlConnection:
    """The master's end of a connection with one client; pid, uid and gid are the client's."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self.pid, self.uid, self.gid = _credentials(connection)

    @property
    def is_owner(self) -> bool:
        """Return whether the client may use every verb: it is root or the owner of the master."""
        return self.uid in (0, os.geteuid())

    def is_in_group(self, gid: int) -> bool:
        """Return whether ``gid`` was one of the client's groups when it connected."""
        if self.gid == gid:
            return True
        try:
            packed = self._socket.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS * 4)
        except OSError:
            return False  # it is in more groups than getsockopt returns
        return gid in struct.unpack(f"{len(packed) // 4}I", packed)

    def fileno(self) -> int:
        """Return the descriptor, which is readable when the client sent something or left."""
        return self._socket.fileno()

    def read(self) -> bytes | None:
        """Return the bytes that the client sent; None when there are none yet.

        Empty bytes mean that the client left, or that it sent a descriptor, which no verb needs.
        """
        try:
            return receive_plain(self._socket, 65536)
        except BlockingIOError:
            return None
        except (OSError, UnexpectedDescriptorError):
            return b""

    def send(self, data: bytes, fds: Sequence[int] = ()) -> bool:
        """Send ``data`` and the descriptors ``fds``; return whether all of it was sent."""
        try:
            if fds:
                return socket.send_fds(self._socket, [data], fds) == len(data)
            return self._socket.send(data, socket.MSG_DONTWAIT) == len(data)
        except OSError:
            return False

    def hang_up(self, poller: Poller) -> None:
        """Close the connection for good, whatever the client has still sent."""
        shutdown_and_close(poller, self._socket)

    def close(self) -> None:
        """Close a child's copy of the connection."""
        self._socket.close()


def connect(path: Path, timeout: float | None) -> socket.socket:
    """Return a client's connection to the master that listens at ``path``.

    ``timeout`` in seconds bounds the connect and each later call; None waits without end. Raises
    MachineError when no master answers there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if timeout is not None:
        # A non-blocking connect to a full accept queue fails with EAGAIN; a blocking one waits.
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
    """Return whether a process listens at ``path``, even if it does not answer."""
    try:
        connect(path, 1.0).close()
    except MachineError as error:
        return isinstance(error.__cause__, (TimeoutError, BlockingIOError))
    return True


def listener_pid(path: Path) -> int | None:
    """Return the pid of the process that listens at ``path``, or None.

    The process need not answer.

    ``stop --force`` takes the pid from here: SO_PEERCRED names the process that called listen(2),
    also when it is stopped. The pid in the state file may be older and belong to another process by
    now.
    """
    try:
        with connect(path, 1.0) as connection:
            return peer_pid(connection)
    except MachineError:
        return None


def peer_pid(connection: socket.socket) -> int | None:
    """Return the pid of the process at the other end; None if it is in another pid namespace.

    For a client that is the process which called listen(2).
    """
    return _credentials(connection)[0] or None


def _credentials(connection: socket.socket) -> tuple[int, int, int]:
    """Return pid, uid and gid of the other end, as they were at connect(2) or listen(2)."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, gid = struct.unpack("iII", packed)
    return pid, uid, gid


@contextmanager
def _short_path(path: Path) -> Iterator[str]:
    """Yield a short path to a socket, by a descriptor of its folder.

    The address of a unix socket holds 108 bytes, and the path of a home may be longer.
    """
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


@contextmanager
def _pinned_path(path: Path) -> Iterator[str]:
    """Yield a path to the very socket that is at ``path``; no symlink is followed."""
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
