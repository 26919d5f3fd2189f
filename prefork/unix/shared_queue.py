"""A queue of open connections that belong to all workers: each is for whoever takes it first.

A pair of connected unix sockets that all workers share, the kernel's queue between them, and one
message a connection, with its descriptor (SCM_RIGHTS in unix(7)). While it is in the queue nobody
holds it but the kernel, so the death of a worker takes nothing along.

Any of them may be hostile, so what is taken is checked: one descriptor, of a connected socket of
the family that the message tells, and addresses in ASCII. Nothing relies on O_NONBLOCK, which each
of them could change for all. The master itself takes nothing (unix/descriptor_disposal.py).
"""

import array
import errno
import fcntl
import os
import select
import socket
import stat
import struct
import termios
from contextlib import suppress
from dataclasses import dataclass

from prefork.http.peer import Addresses, HostPort
from prefork.plural import pluralize

_MESSAGE = struct.Struct("=H64sH64sH")
"""Family of the socket, client and server; a host of no bytes stands for none."""

_INT = struct.Struct("=i")

_CONTROL_SIZE = 512
"""Bytes for control messages. More than one descriptor takes: a hostile worker may have asked the
kernel to add credentials and the like (SO_PASSCRED), for all of us."""

_SCM_PIDFD = 4
"""unix(7): also a descriptor, of the sender; Python does not name it."""

MAX_DISCARDED = 4096
"""Messages; a queue holds some three hundred, but a worker may go on filling it."""


class InvalidMessageError(Exception):
    """What was taken is no connection. ``str(error)`` says what it was."""


@dataclass(frozen=True, slots=True)
class SharedConnection:
    """An open connection, and what its last worker knew of it."""

    fd: int
    family: int
    addresses: Addresses


class SharedQueue:
    """Made before the workers are forked. What waits is in the order in which it was given."""

    def __init__(self) -> None:
        kind = socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK
        self._sender, self.socket = socket.socketpair(socket.AF_UNIX, kind)

    def put(self, fd: int, family: int, addresses: Addresses) -> bool:
        """Let go of it; False: there is no room, or the queue is closed, and it stays ours. The
        caller's descriptor is still the caller's to close."""
        message = _MESSAGE.pack(
            family, *_pack_host(addresses.client), *_pack_host(addresses.server)
        )
        try:
            # Not by socket.send_fds, which passes no flags on.
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
            return self._sender.sendmsg([message], [rights], socket.MSG_DONTWAIT) > 0
        except OSError:
            return False  # EAGAIN, EBADF, ETOOMANYREFS: nothing was sent

    def get(self) -> SharedConnection:
        """The one that has waited for longest.

        Raises OSError: BlockingIOError when there is none, EMFILE when this process cannot have one
        more descriptor, EPIPE when the queue was shut down. Raises StrangeMessageError for what is
        no connection; that is gone then.
        """
        os.close(os.dup(self.socket.fileno()))  # else the kernel would drop what does not fit
        fd, message = self._receive()
        try:
            return _parse_message(fd, message)
        except BaseException:
            os.close(fd)
            raise

    def _receive(self) -> tuple[int, bytes]:
        """Not by socket.recv_fds, whose descriptors are inheritable for a moment."""
        wanted = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
        message, extras, flags, _ = self.socket.recvmsg(_MESSAGE.size, _CONTROL_SIZE, wanted)
        fds = [fd for extra in extras for fd in _descriptors(*extra)]
        if len(fds) == 1 and not flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
            return fds[0], message
        for fd in fds:
            os.close(fd)
        if len(message) == _MESSAGE.size and not fds and flags & socket.MSG_CTRUNC:
            # A thread of the app took the last descriptor in between.
            raise OSError(errno.EMFILE, "a shared connection is lost: too many open files")
        if not message and self._is_shut():
            raise BrokenPipeError(errno.EPIPE, "the queue of shared connections was shut down")
        raise InvalidMessageError(
            f"{pluralize(len(message), 'byte')} with {len(fds)} descriptors or more"
        )

    def _is_shut(self) -> bool:
        """An empty message looks the same."""
        poller = select.poll()
        poller.register(self.socket, select.POLLRDHUP)
        return bool(poller.poll(0))

    def length(self) -> int:
        """How many wait now."""
        return unread_bytes(self.socket.fileno()) // _MESSAGE.size

    def has_messages(self) -> bool:
        """Whether something can be taken, a connection or not."""
        poller = select.poll()
        poller.register(self.socket, select.POLLIN)
        return bool(poller.poll(0))

    def discard_all(self) -> int:
        """End all that wait; how many there were. A process without a free descriptor stops early.

        To be called where closing may take long.
        """
        count = 0
        with suppress(OSError):
            for _ in range(MAX_DISCARDED):
                with suppress(InvalidMessageError):
                    os.close(self.get().fd)
                    count += 1
        return count

    def descriptors(self) -> tuple[int, int]:
        """Both sockets; negative once they are closed."""
        return self._sender.fileno(), self.socket.fileno()

    def close(self) -> None:
        """This process's copies; the queue lives on in the others'."""
        self._sender.close()
        self.socket.close()


def unread_bytes(fd: int) -> int:
    """Bytes that the other side of a socket has sent and nobody has read (tcp(7), unix(7)).
    Raises OSError."""
    return int(_INT.unpack(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0])


def _descriptors(level: int, kind: int, data: bytes) -> "array.array[int]":
    """Those of a control message; pidfds that we did not ask for are closed."""
    fds = array.array("i")
    if (level, kind) == (socket.SOL_SOCKET, _SCM_PIDFD):
        os.close(_INT.unpack(data[: _INT.size])[0])
    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
        fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds


def _parse_message(fd: int, message: bytes) -> SharedConnection:
    """Raises StrangeMessageError."""
    try:
        family, client, port, server, server_port = _MESSAGE.unpack(message)
        addresses = Addresses(_unpack_host(client, port), _unpack_host(server, server_port))
    except (struct.error, UnicodeDecodeError) as error:
        raise InvalidMessageError(str(error)) from None
    if (family, socket.SOCK_STREAM) != _family_and_type(fd):
        raise InvalidMessageError("a descriptor that is no connection")
    return SharedConnection(fd, family, addresses)


def _family_and_type(fd: int) -> tuple[int, int] | None:
    """Family and type of a connected socket; None: it is none."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return None
    try:
        with socket.socket(fileno=os.dup(fd)) as sock:
            sock.getpeername()
            return sock.family, sock.type
    except OSError:
        return None


def _pack_host(place: HostPort | None) -> tuple[bytes, int]:
    return (place[0].encode("ascii"), place[1]) if place is not None else (b"", 0)


def _unpack_host(host: bytes, port: int) -> HostPort | None:
    name = host.rstrip(b"\0").decode("ascii")
    return (name, port) if name else None
