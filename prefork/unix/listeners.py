"""Listening sockets: open one from an address, close it, clean up after it.

A listener is opened once, by the master, and inherited. It is non-blocking from birth, because
O_NONBLOCK belongs to the open socket and is shared by all who inherit it. TCP_NODELAY is set here
too: Linux hands it on to accepted connections, which saves a system call for each.
"""

import errno
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from prefork.config.addresses import (
    Address,
    InheritedSocket,
    TcpAddress,
    UnixAddress,
    is_same_socket,
    scheme_of,
)
from prefork.errors import MachineError, PreforkError, UsageError
from prefork.printable import printable_line
from prefork.unix.directory import Directory
from prefork.unix.identity import resolve_identity


@dataclass(frozen=True, slots=True)
class Listener:
    """An open socket; ``inode`` (device, inode) tells whether the unix path is still ours."""

    socket: socket.socket
    address: Address
    inode: tuple[int, int] | None = None

    def __str__(self) -> str:
        if self.socket.family == socket.AF_UNIX:
            return f"unix:{_format_unix_name(self.socket.getsockname())}"
        host, port = self.socket.getsockname()[:2]
        return str(TcpAddress(host, port))

    def is_bound_to(self, address: Address) -> bool:
        """Whether it listens there already. A unix path is asked itself: somebody may have removed
        it, or spell it differently; its mode and owner do not matter, see ``refit``."""
        if isinstance(address, UnixAddress) and not address.is_abstract:
            return self.inode is not None and self.inode == _inode_at(address.path)
        return is_same_socket(address, self.address)

    def scheme(self, address: Address, has_certificates: bool) -> str:
        """``http`` or ``https``, for a generation that means it by this address."""
        return scheme_of(address, has_certificates, self.socket.family == socket.AF_UNIX)

    def close(self) -> None:
        """In the master: close, and remove the path that we made."""
        self.socket.close()
        if isinstance(self.address, UnixAddress) and self.inode:
            with suppress(OSError):  # its folder is gone, or leads elsewhere now
                _remove_socket_file(self.address.path, self.inode)


def open_listeners(
    address: Address, backlog: int, open_now: Iterable[Listener] = ()
) -> list[Listener]:
    """All sockets that the address means (a host name may have several).

    ``open_now`` are our own, which may be in the way. Raises MachineError or UsageError with one
    line that says what to do.
    """
    try:
        match address:
            case TcpAddress():
                return _open_tcp(address, backlog)
            case UnixAddress():
                return [_open_unix(address, backlog)]
            case InheritedSocket(fd):
                return [adopt_inherited_socket(fd, backlog)]
    except PreforkError:
        raise
    except OSError as error:
        raise MachineError(_explain_error(address, error, open_now)) from error
    except ValueError as error:
        # A NUL in a path or a host.
        raise UsageError(f"cannot listen on {str(address)!r}: {error}") from None


def update_listener(listener: Listener, address: Address, backlog: int) -> None:
    """Give an open socket the backlog, mode and owner that it is to have from now on.

    Inherited ones stay as their owner made them. Raises MachineError or UsageError.
    """
    if isinstance(listener.address, InheritedSocket):
        return
    try:
        listener.socket.listen(backlog)
        if isinstance(address, UnixAddress) and not address.is_abstract:
            folder, name = Directory.open_parent(address.path)
            with folder, _pin(folder, name) as pinned:
                if _device_and_inode(pinned) != listener.inode:
                    raise MachineError(f"cannot listen on {address}: another file is in its place")
                _set_mode_and_owner(address, pinned)
    except OSError as error:
        raise MachineError(_explain_error(address, error)) from error


def restore_backlog(listeners: Iterable[Listener], backlog: int) -> None:
    """A program that listens on our socket anew gives it the queue that its runtime likes."""
    for listener in listeners:
        if not isinstance(listener.address, InheritedSocket):
            listener.socket.listen(backlog)


def set_blocking(listeners: Iterable[Listener]) -> None:
    """As programs expect their sockets. Who does not want that sets O_NONBLOCK, for all who share
    the socket; so this is done once, when it is new, and never to one in use."""
    for listener in listeners:
        listener.socket.setblocking(True)


def _set_mode_and_owner(address: UnixAddress, pinned: int) -> None:
    """By a descriptor, so that whatever somebody puts at the path meanwhile stays as it is."""
    same = f"/proc/self/fd/{pinned}"
    if address.mode is not None:
        os.chmod(same, address.mode)
    if address.owner:
        _chown(same, address.owner)


def _open_tcp(address: TcpAddress, backlog: int) -> list[Listener]:
    flags = socket.AI_PASSIVE
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags)
    except (socket.gaierror, UnicodeError) as error:
        # UnicodeError: no name may look like that, as in a..b
        raise UsageError(f"cannot listen on {address}: {str(error.args[-1]).lower()}") from None
    opened: list[Listener] = []
    failure: OSError | None = None
    for family, _, _, _, name in dict.fromkeys(found):
        try:
            opened.append(Listener(_bind_and_listen(family, name, backlog), address))
            failure = None
        except OSError as error:
            failure = error
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                break
    if failure is not None and (not opened or failure.errno == errno.EADDRINUSE):
        for listener in opened:
            listener.close()
        raise failure
    return opened


def _bind_and_listen(family: int, name: tuple[Any, ...], backlog: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            # Else [::] takes IPv4 as well, and collides with a bind of that port there.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_abstract(address: UnixAddress, backlog: int) -> Listener:
    """Nothing is left of one that ended, and there is no file to give a mode, an owner or away."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.bind(address.bind_name)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return Listener(sock, address)


def _open_unix(address: UnixAddress, backlog: int) -> Listener:
    if address.is_abstract:
        return _open_abstract(address, backlog)
    folder, name = Directory.open_parent(address.path)
    inode = None
    with folder:
        _remove_stale_socket(address, folder, name)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # By the whole path, because that is what getsockname(2) and ss(8) tell. It was looked
            # up above, so no symlink of another user was in it.
            sock.bind(address.path)
            with _pin(folder, name) as pinned:
                _require_unused(address, pinned)
                inode = _device_and_inode(pinned)
                _set_mode_and_owner(address, pinned)
            # No client can connect before this, so none slips in before mode and owner are right.
            sock.listen(backlog)
        except BaseException:
            Listener(sock, address, inode).close()
            raise
    return Listener(sock, address, inode)


def _require_unused(address: UnixAddress, pinned: int) -> None:
    """Nothing listens on our new socket yet. Another user could have renamed the socket of another
    server, so that it gets our mode and owner; that one is heard. Raises MachineError."""
    status = os.fstat(pinned)
    is_new = stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid()
    if not is_new or _has_listener(pinned):
        raise MachineError(f"cannot listen on {address}: another process has put something there")


def _has_listener(pinned: int) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(f"/proc/self/fd/{pinned}")
        except ConnectionRefusedError:
            return False
        except OSError:
            pass  # its queue is full, or it is of another type: in any case it is not ours
    return True


def _chown(path: str, to: str) -> None:
    user, _, group = to.partition(":")
    owner = resolve_identity(user, group)
    os.chown(path, _or_minus_one(owner.uid), _or_minus_one(owner.gid if group else None))


def _or_minus_one(number: int | None) -> int:
    return -1 if number is None else number


def _remove_stale_socket(address: UnixAddress, folder: Directory, name: str) -> None:
    """Remove a socket that nobody listens on any more; refuse to touch anything else."""
    try:
        with _pin(folder, name) as pinned:
            if not stat.S_ISSOCK(os.fstat(pinned).st_mode):
                raise MachineError(
                    f"cannot listen on {address}: the path exists and is no socket; "
                    "remove it or choose another"
                )
            if _has_listener(pinned):
                raise MachineError(
                    f"cannot listen on {address}: another server is using it; stop that one first"
                )
    except FileNotFoundError:
        return
    folder.remove(name)


@contextmanager
def _pin(folder: Directory, name: str) -> Iterator[int]:
    """A descriptor of the entry itself, of whatever kind it is."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _remove_socket_file(path: str, inode: tuple[int, int]) -> None:
    folder, name = Directory.open_parent(path)
    with folder:
        found = folder.lstat(name)
        if found is not None and (found.st_dev, found.st_ino) == inode:
            folder.remove(name)


def _device_and_inode(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def adopt_inherited_socket(fd: int, backlog: int | None = None) -> Listener:
    """Take over an inherited listening socket, as systemd opens them."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise UsageError(
            f"cannot listen on fd://{fd}: {error.strerror}; no socket was inherited there"
        ) from None
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        if backlog is None or sock.type != socket.SOCK_STREAM:
            sock.detach()  # it is not ours to close
            raise UsageError(f"cannot listen on fd://{fd}: it is no listening stream socket")
        sock.listen(backlog)
    os.set_inheritable(fd, False)
    sock.setblocking(False)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Listener(sock, InheritedSocket(fd))


def kernel_backlog_limit() -> int | None:
    """The kernel's own limit on a backlog (listen(2)), if it can be read."""
    try:
        with open("/proc/sys/net/core/somaxconn") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _format_unix_name(name: str | bytes) -> str:
    """The address of a unix socket; an abstract one is bytes that begin with NUL."""
    return name if isinstance(name, str) else "@" + printable_line(os.fsdecode(name[1:]))


def _inode_at(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _explain_error(address: Address, error: OSError, open_now: Iterable[Listener] = ()) -> str:
    reason = (error.strerror or str(error)).lower()
    if error.errno == errno.EADDRINUSE and (own := _own_listener_on_port(address, open_now)):
        reason = (
            f"this server listens on {own} itself, and Linux opens no two addresses that overlap; "
            "name one of them; `prefork restart --stop-first` changes from one to the other"
        )
    elif error.errno == errno.EADDRINUSE and isinstance(address, TcpAddress):
        reason = (
            f"the port is in use{_process_on_port(address.port)}; stop it or choose another port"
        )
    elif error.errno == errno.EADDRINUSE and isinstance(address, UnixAddress):
        reason = "another process has this name; stop it or choose another name"
    elif error.errno == errno.EACCES and isinstance(address, TcpAddress):
        reason = "permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE"
    elif error.errno == errno.EADDRNOTAVAIL:
        reason = "this machine has no such address"
    return f"cannot listen on {address}: {reason}"


def _own_listener_on_port(address: Address, listeners: Iterable[Listener]) -> Listener | None:
    """The first of our own that has the same TCP port."""
    if isinstance(address, TcpAddress):
        for listener in listeners:
            name = listener.socket.getsockname()
            if listener.socket.family != socket.AF_UNIX and name[1] == address.port:
                return listener
    return None


def _process_on_port(port: int) -> str:
    """Who listens there, as far as we may see it: `` by pid 12 (nginx)``."""
    try:
        import psutil  # noqa: PLC0415 - slow to import, and only an error needs it
    except ImportError:
        return ""  # the environment of this master is not there any more
    try:
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN
            if listening and connection.pid and port in tuple(connection.laddr):
                name = psutil.Process(connection.pid).name()
                return f" by pid {connection.pid} ({name})"
    except (psutil.Error, OSError):
        pass
    return ""
