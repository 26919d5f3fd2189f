"""Listening sockets: open one for an address, update it at a reload, close it and clean up.

A listener is opened once, by the master, and inherited by workers. It is non-blocking from the
start, because O_NONBLOCK belongs to the open socket and is shared by all processes that inherit it.
TCP_NODELAY is set on the listener, too: Linux passes it on to accepted connections, which saves a
system call for each.

Design
------
- **A unix socket is bound by its whole path,** because getsockname(2) tells that path to apps and
  ss(8). Before the bind, its folder is looked up without symlinks of other users. After it, the
  entry is pinned by a descriptor, and gets its mode and owner only if no process listens on it yet:
  so it is not the socket of another server that was renamed to that place.
- **An abstract unix socket has no mode and no owner,** so ``unix:@name,mode=600`` is refused
  instead of ignored: every process of the network namespace may connect, as to a TCP port on
  loopback. No file is looked for, created or removed. The name is free again when the last copy is
  closed.
- **A listener that a reload keeps is the same object in both generations,** also under a new mode
  or owner: a generation that closes its own sockets must not close one that the new generation
  shares.
- **A reload to an address that overlaps with an open one is refused** (127.0.0.1:80 to 0.0.0.0:80).
  Linux lets no two such sockets listen, unless both have SO_REUSEPORT; and then the old one would
  have to be closed together with its queue. The message says that it takes a restart.
- **The backlog is the operator's** (``restore_backlog``). The queue is one for all workers, so a
  ``main(listener)`` that passes the socket to ``asyncio.start_server`` does not shorten it to
  asyncio's 100.
- **A program's sockets block, those of prefork's own workers do not** (``set_blocking``).
  O_NONBLOCK is set or cleared once, when the socket is new; a runtime with an event loop sets it
  itself. Changing it at each exec would stop the loops of older workers.
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
    """An open listening socket.

    ``address`` is the one it was opened for. ``inode`` (device, inode) identifies a unix socket's
    file, so that a file of another process in its place is noticed; None for other sockets.
    """

    socket: socket.socket
    address: Address
    inode: tuple[int, int] | None = None

    def __str__(self) -> str:
        if self.socket.family == socket.AF_UNIX:
            return f"unix:{_format_unix_name(self.socket.getsockname())}"
        host, port = self.socket.getsockname()[:2]
        return str(TcpAddress(host, port))

    @property
    def inode_number(self) -> int:
        """The inode of the socket itself, by which /proc names it (proc(5))."""
        return os.fstat(self.socket.fileno()).st_ino

    def is_bound_to(self, address: Address) -> bool:
        """Return whether the socket already listens at ``address``.

        A unix path is compared by inode, because the file may have been removed, or the path may be
        spelled differently. Mode and owner do not matter; ``update_listener`` changes them.
        """
        if isinstance(address, UnixAddress) and not address.is_abstract:
            return self.inode is not None and self.inode == _inode_at(address.path)
        return is_same_socket(address, self.address)

    def scheme(self, address: Address, has_certificates: bool) -> str:
        """Return the scheme, ``http`` or ``https``, that ``address`` gives this socket."""
        return scheme_of(address, has_certificates, self.socket.family == socket.AF_UNIX)

    def close(self) -> None:
        """Close the master's socket, and remove its unix path if that is still the same file."""
        self.socket.close()
        if isinstance(self.address, UnixAddress) and self.inode:
            with suppress(OSError):  # the folder is gone, or the path leads elsewhere now
                _remove_socket_file(self.address.path, self.inode)


def open_listeners(
    address: Address, backlog: int, open_now: Iterable[Listener] = ()
) -> list[Listener]:
    """Open all sockets that ``address`` stands for; a host name may stand for several.

    ``open_now`` are prefork's own listeners, which may be in the way. Raises MachineError or
    UsageError with one line that says what to do.
    """
    with _explained(address, open_now):
        match address:
            case TcpAddress():
                return _open_tcp(address, backlog)
            case UnixAddress():
                return [_open_unix(address, backlog)]
            case InheritedSocket(fd):
                return [adopt_inherited_socket(fd, backlog)]


def check_address(address: Address, open_now: Iterable[Listener] = ()) -> None:
    """Raise the error that ``open_listeners`` would raise, as far as that can be told.

    No socket listens meanwhile: a client might connect to it, and would be reset. No path is made
    or removed.
    """
    with _explained(address, open_now):
        match address:
            case TcpAddress():
                bound = _open_tcp(address, None)
            case UnixAddress() if address.is_abstract:
                bound = [_open_abstract(address, None)]
            case UnixAddress():
                bound = []
                folder, name = Directory.open_parent(address.path)
                with folder:
                    _require_free(address, folder, name)
            case InheritedSocket():
                bound = []  # it is there, or was refused when the settings were read
    for listener in bound:
        listener.socket.close()


@contextmanager
def _explained(address: Address, open_now: Iterable[Listener]) -> Iterator[None]:
    """Raise MachineError or UsageError, with one line that says what to do, for other errors."""
    try:
        yield
    except PreforkError:
        raise
    except OSError as error:
        raise MachineError(_explain_error(address, error, open_now)) from error
    except ValueError as error:
        # A path or a host contains NUL.
        raise UsageError(f"cannot listen on {str(address)!r}: {error}") from None


def update_listener(listener: Listener, address: Address, backlog: int) -> None:
    """Set the backlog, mode and owner of an open listener to new settings.

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
    """Set the backlog again after a program called listen(2) with its runtime's default."""
    for listener in listeners:
        if not isinstance(listener.address, InheritedSocket):
            listener.socket.listen(backlog)


def set_blocking(listeners: Iterable[Listener]) -> None:
    """Clear O_NONBLOCK on new sockets, because programs expect blocking ones.

    A program that wants O_NONBLOCK sets it, for all processes that share the socket.
    """
    for listener in listeners:
        listener.socket.setblocking(True)


def _set_mode_and_owner(address: UnixAddress, pinned: int) -> None:
    """Set mode and owner of a unix socket by its descriptor, whatever is at its path by now."""
    same = f"/proc/self/fd/{pinned}"
    if address.mode is not None:
        os.chmod(same, address.mode)
    if address.owner:
        _chown(same, address.owner)


def _open_tcp(address: TcpAddress, backlog: int | None) -> list[Listener]:
    """Open a socket for each address that the host resolves to; ``backlog``: None: only bind it."""
    flags = socket.AI_PASSIVE
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags)
    except (socket.gaierror, UnicodeError) as error:
        # UnicodeError: not a valid host name, such as a..b
        raise UsageError(f"cannot listen on {address}: {str(error.args[-1]).lower()}") from None
    opened: list[Listener] = []
    failure: OSError | None = None
    # A resolver may list an address twice, as for two lines of /etc/hosts.
    for family, _, _, _, name in dict.fromkeys(found):
        try:
            opened.append(Listener(_bind(family, name, backlog), address))
            failure = None
        except OSError as error:
            failure = error
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                break
    # A host name may resolve to an address that this machine lacks, such as ::1 without IPv6; then
    # the other addresses are enough. A port in use is always an error.
    if failure is not None and (not opened or failure.errno == errno.EADDRINUSE):
        for listener in opened:
            listener.close()
        raise failure
    return opened


def _bind(family: int, name: tuple[Any, ...], backlog: int | None) -> socket.socket:
    """Return a new TCP socket that is bound to ``name``, and listens if there is a ``backlog``."""
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # Connections in TIME_WAIT would prevent the bind for a minute. On Linux no other socket
        # can listen there at the same time (socket(7)).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            # Otherwise [::] accepts IPv4 as well, and collides with a bind to 0.0.0.0 of the port.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        if backlog is not None:
            sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_abstract(address: UnixAddress, backlog: int | None) -> Listener:
    """Open a socket in the abstract namespace (unix(7)), which has no file to clean up."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.bind(address.bind_name)
        if backlog is not None:
            sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return Listener(sock, address)


def _open_unix(address: UnixAddress, backlog: int) -> Listener:
    """Open a unix socket and set its mode and owner before it listens."""
    if address.is_abstract:
        return _open_abstract(address, backlog)
    folder, name = Directory.open_parent(address.path)
    inode = None
    with folder:
        _remove_stale_socket(address, folder, name)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # Bind by the whole path: getsockname(2) and ss(8) show it. Its folder was opened
            # above, so it contains no symlink of another user.
            sock.bind(address.path)
            with _pin(folder, name) as pinned:
                _require_unused(address, pinned)
                inode = _device_and_inode(pinned)
                _set_mode_and_owner(address, pinned)
            # Listen last: no client can connect before mode and owner are set.
            sock.listen(backlog)
        except BaseException:
            Listener(sock, address, inode).close()
            raise
    return Listener(sock, address, inode)


def _require_unused(address: UnixAddress, pinned: int) -> None:
    """Raise MachineError if a process already listens on the socket that was just bound.

    Another user could have renamed the socket of another server to this place, so that it would get
    this address's mode and owner. That one accepts connections.
    """
    status = os.fstat(pinned)
    is_new = stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid()
    if not is_new or _has_listener(pinned):
        raise MachineError(f"cannot listen on {address}: another process has put something there")


def _has_listener(pinned: int) -> bool:
    """Return whether a process listens on the unix socket at this descriptor."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            # By the descriptor, so that the socket which was checked is the one that answers.
            probe.connect(f"/proc/self/fd/{pinned}")
        except ConnectionRefusedError:
            return False
        except OSError:
            pass  # its queue is full, or it is of another type: another process's in any case
    return True


def _chown(path: str, to: str) -> None:
    """Change the owner of a file to ``user``, ``user:group`` or ``:group``."""
    user, _, group = to.partition(":")
    owner = resolve_identity(user, group)
    os.chown(path, _or_minus_one(owner.uid), _or_minus_one(owner.gid if group else None))


def _or_minus_one(number: int | None) -> int:
    return -1 if number is None else number


def _remove_stale_socket(address: UnixAddress, folder: Directory, name: str) -> None:
    """Remove a socket that no process listens on any more; refuse to touch anything else."""
    if _require_free(address, folder, name):
        folder.remove(name)


def _require_free(address: UnixAddress, folder: Directory, name: str) -> bool:
    """Raise MachineError unless the path is free; return whether a stale socket is there."""
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
        return False
    return True


@contextmanager
def _pin(folder: Directory, name: str) -> Iterator[int]:
    """Yield a descriptor of the entry itself, whatever kind of file it is."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _remove_socket_file(path: str, inode: tuple[int, int]) -> None:
    """Remove the unix path if it is still the file that was created."""
    folder, name = Directory.open_parent(path)
    with folder:
        found = folder.lstat(name)
        if found is not None and (found.st_dev, found.st_ino) == inode:
            folder.remove(name)


def _device_and_inode(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def adopt_inherited_socket(fd: int, backlog: int | None = None) -> Listener:
    """Return a listener for an inherited descriptor, such as one that systemd opened.

    A socket that is only bound is made to listen with ``backlog``, unless that is None. Raises
    UsageError for a descriptor that is no such socket.
    """
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise UsageError(
            f"cannot listen on fd://{fd}: {error.strerror}; no socket was inherited there"
        ) from None
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        if backlog is None or sock.type != socket.SOCK_STREAM:
            sock.detach()  # the descriptor belongs to the caller and stays open
            raise UsageError(f"cannot listen on fd://{fd}: it is no listening stream socket")
        sock.listen(backlog)
    os.set_inheritable(fd, False)
    sock.setblocking(False)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Listener(sock, InheritedSocket(fd))


def kernel_backlog_limit() -> int | None:
    """Return the kernel's limit of a backlog, net.core.somaxconn (listen(2)); None if unknown."""
    try:
        with open("/proc/sys/net/core/somaxconn") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _format_unix_name(name: str | bytes) -> str:
    """Return the address of a unix socket for messages.

    An abstract one is bytes that begin with NUL.
    """
    return name if isinstance(name, str) else "@" + printable_line(os.fsdecode(name[1:]))


def _inode_at(path: str) -> tuple[int, int] | None:
    """Return device and inode of the entry at a path; None if there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _explain_error(address: Address, error: OSError, open_now: Iterable[Listener] = ()) -> str:
    """Return the message for an address that cannot be listened on, with the next step."""
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
    """Return the first of prefork's own listeners that has the same TCP port."""
    if isinstance(address, TcpAddress):
        for listener in listeners:
            name = listener.socket.getsockname()
            if listener.socket.family != socket.AF_UNIX and name[1] == address.port:
                return listener
    return None


def _process_on_port(port: int) -> str:
    """Return `` by pid 12 (nginx)`` for the process that listens at ``port``, else ""."""
    try:
        import psutil  # noqa: PLC0415 - slow to import, and only an error needs it
    except ImportError:
        return ""  # the Python environment of this master was removed
    try:
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN
            if listening and connection.pid and port in tuple(connection.laddr):
                name = psutil.Process(connection.pid).name()
                return f" by pid {connection.pid} ({name})"
    except (psutil.Error, OSError):
        pass
    return ""
