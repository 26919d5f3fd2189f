"""A queue of open connections that all workers share: the first worker that is free takes one.

The queue is a pair of connected unix sockets that all workers inherit. Each connection is one
message with its descriptor (SCM_RIGHTS in unix(7)). Only the kernel holds a connection while it is
in the queue, so the death of a worker loses none.

Any worker may be hostile, so each message is checked: one descriptor, of a connected socket of the
family that the message names, and addresses in ASCII. Nothing relies on O_NONBLOCK, which each
process could change for all. The master itself receives nothing (unix/descriptor_disposal.py).

Design
------
- **SOCK_SEQPACKET and messages of one size:** FIONREAD then tells how many connections wait.
- **A free descriptor is tried before a message is read,** because the kernel drops a descriptor
  that a full process cannot receive.
- worker/accept/handoff.py decides when a connection goes into the queue, and says why.
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

VERSION = 2
"""The version of the messages, the first byte of each (wire/versions.py)."""

_MESSAGE = struct.Struct("=BxH64sH64sH")
"""VERSION, and the family of the socket, then host and port of client and server; an empty host
stands for none."""

_INT = struct.Struct("=i")

_CONTROL_SIZE = 512
"""Bytes for control messages: more than one descriptor needs, because a hostile worker may have
asked the kernel to add credentials and the like for all of them (SO_PASSCRED)."""

_SCM_PIDFD = 4
"""A control message of unix(7) with a pidfd of the sender; Python does not name it."""

MAX_DISCARDED = 4096
"""Messages that ``discard_all`` reads at most. A queue holds about three hundred, but a hostile
worker may go on filling it."""


class InvalidMessageError(Exception):
    """A message in the queue is no connection. ``str(error)`` says what it is."""


@dataclass(frozen=True, slots=True)
class SharedConnection:
    """An open connection from the queue, and the addresses that its last worker knew."""

    fd: int
    family: int
    addresses: Addresses


class SharedQueue:
    """The queue, created by the master before it forks workers. First in, first out."""

    def __init__(self) -> None:
        kind = socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK
        self._sender, self.socket = socket.socketpair(socket.AF_UNIX, kind)

    def put(self, fd: int, family: int, addresses: Addresses) -> bool:
        """Put a connection into the queue; return False if the queue is full or closed.

        ``family``: the address family of the socket. ``addresses``: those of client and server,
        which may come from a PROXY header. The caller keeps its own descriptor in either case, and
        closes it.
        """
        message = _MESSAGE.pack(
            VERSION, family, *_pack_host(addresses.client), *_pack_host(addresses.server)
        )
        try:
            # sendmsg, because socket.send_fds ignores flags.
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
            return self._sender.sendmsg([message], [rights], socket.MSG_DONTWAIT) > 0
        except OSError:
            return False  # EAGAIN, EBADF, ETOOMANYREFS: nothing was sent

    def get(self) -> SharedConnection:
        """Take the connection that has waited longest.

        Raises BlockingIOError when the queue is empty, OSError with EMFILE when this process has no
        free descriptor, BrokenPipeError when the queue was shut down. Raises InvalidMessageError
        for a message that is no connection; it is dropped.
        """
        # With no free descriptor this raises EMFILE, and the connection stays in the queue.
        os.close(os.dup(self.socket.fileno()))
        fd, message = self._receive()
        try:
            return _parse_message(fd, message)
        except BaseException:
            os.close(fd)
            raise

    def _receive(self) -> tuple[int, bytes]:
        """Receive one message and its descriptor.

        socket.recv_fds is not used: its descriptors are inheritable for a moment.
        """
        wanted = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
        message, extras, flags, _ = self.socket.recvmsg(_MESSAGE.size, _CONTROL_SIZE, wanted)
        fds = [fd for extra in extras for fd in _descriptors(*extra)]
        if len(fds) == 1 and not flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
            return fds[0], message
        for fd in fds:
            os.close(fd)
        if len(message) == _MESSAGE.size and not fds and flags & socket.MSG_CTRUNC:
            # A thread of the app took the last free descriptor in between.
            raise OSError(errno.EMFILE, "a shared connection is lost: too many open files")
        if not message and self._is_shut():
            raise BrokenPipeError(errno.EPIPE, "the queue of shared connections was shut down")
        raise InvalidMessageError(
            f"{pluralize(len(message), 'byte')} with {len(fds)} descriptors or more"
        )

    def _is_shut(self) -> bool:
        """Return whether the queue was shut down; an empty message looks the same to recvmsg(2)."""
        poller = select.poll()
        poller.register(self.socket, select.POLLRDHUP)
        return bool(poller.poll(0))

    def length(self) -> int:
        """Return how many connections wait."""
        return unread_bytes(self.socket.fileno()) // _MESSAGE.size

    def has_messages(self) -> bool:
        """Return whether a message waits, be it a connection or not."""
        poller = select.poll()
        poller.register(self.socket, select.POLLIN)
        return bool(poller.poll(0))

    def discard_all(self) -> int:
        """Close all connections that wait; return how many there were.

        A process without a free descriptor stops early. A close may block, so the master calls this
        in a child only.
        """
        count = 0
        with suppress(OSError):
            for _ in range(MAX_DISCARDED):
                with suppress(InvalidMessageError):
                    os.close(self.get().fd)
                    count += 1
        return count

    def descriptors(self) -> tuple[int, int]:
        """Return the descriptors of both sockets; negative ones are closed."""
        return self._sender.fileno(), self.socket.fileno()

    def close(self) -> None:
        """Close this process's copies; the queue lives on in other processes."""
        self._sender.close()
        self.socket.close()


def unread_bytes(fd: int) -> int:
    """Return how many bytes wait in the socket's receive buffer (FIONREAD, tcp(7), unix(7)).

    Raises OSError.
    """
    return int(_INT.unpack(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0])


def _descriptors(level: int, kind: int, data: bytes) -> "array.array[int]":
    """Return the descriptors of one control message; a pidfd that was not asked for is closed."""
    fds = array.array("i")
    if (level, kind) == (socket.SOL_SOCKET, _SCM_PIDFD):
        os.close(_INT.unpack(data[: _INT.size])[0])
    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
        fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds


def _parse_message(fd: int, message: bytes) -> SharedConnection:
    """Check a message and return its connection. Raises InvalidMessageError."""
    try:
        version, family, client, port, server, server_port = _MESSAGE.unpack(message)
        addresses = Addresses(_unpack_host(client, port), _unpack_host(server, server_port))
    except (struct.error, UnicodeDecodeError) as error:
        raise InvalidMessageError(str(error)) from None
    if version != VERSION:
        raise InvalidMessageError(f"version {version}, and this worker knows {VERSION}")
    if (family, socket.SOCK_STREAM) != _family_and_type(fd):
        raise InvalidMessageError("a descriptor that is no connection")
    return SharedConnection(fd, family, addresses)


def _family_and_type(fd: int) -> tuple[int, int] | None:
    """Return family and type of a connected socket; None if the descriptor is none."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return None
    try:
        with socket.socket(fileno=os.dup(fd)) as sock:
            sock.getpeername()  # raises ENOTCONN for a socket that is not connected
            return sock.family, sock.type
    except OSError:
        return None


def _pack_host(place: HostPort | None) -> tuple[bytes, int]:
    return (place[0].encode("ascii"), place[1]) if place is not None else (b"", 0)


def _unpack_host(host: bytes, port: int) -> HostPort | None:
    name = host.rstrip(b"\0").decode("ascii")
    return (name, port) if name else None
