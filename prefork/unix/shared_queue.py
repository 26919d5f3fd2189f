"""A queue of open connections that belong to all workers: each is for whoever takes it first.

A pair of connected unix sockets that all workers share, the kernel's queue between them, and one
message a connection, with its descriptor (SCM_RIGHTS in unix(7)). While it is in the queue nobody
holds it but the kernel, so the death of a worker takes nothing along.
"""

import errno
import fcntl
import os
import socket
import struct
import termios
from contextlib import suppress
from dataclasses import dataclass

from prefork.http.peer import Addresses, Place

_MESSAGE = struct.Struct("=H64sH64sH")
"""Family of the socket, client and server; a host of no bytes stands for none."""

_INT = struct.Struct("=i")


@dataclass(frozen=True, slots=True)
class Shared:
    """An open connection, and what its last worker knew of it."""

    fd: int
    family: int
    addresses: Addresses


class SharedQueue:
    """Made before the workers are forked. What waits is in the order in which it was given."""

    def __init__(self) -> None:
        kind = socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK
        self._into, self.socket = socket.socketpair(socket.AF_UNIX, kind)

    def give(self, fd: int, family: int, addresses: Addresses) -> bool:
        """Let go of it; False: there is no room, or the queue is closed, and it stays ours. The
        caller's descriptor is still the caller's to close."""
        message = _MESSAGE.pack(family, *_packed(addresses.client), *_packed(addresses.server))
        try:
            return socket.send_fds(self._into, [message], [fd]) > 0
        except OSError:
            return False  # EAGAIN, EBADF, ETOOMANYREFS: nothing was sent

    def take(self) -> Shared:
        """The one that has waited for longest. Raises OSError: BlockingIOError when there is
        none, EMFILE when this process cannot have one more descriptor."""
        os.close(os.dup(self.socket.fileno()))  # else the kernel would drop what does not fit
        fd, message = self._receive()
        family, client, port, server, server_port = _MESSAGE.unpack(message)
        return Shared(
            fd, family, Addresses(_unpacked(client, port), _unpacked(server, server_port))
        )

    def _receive(self) -> tuple[int, bytes]:
        """Not by socket.recv_fds, whose descriptors are inheritable for a moment."""
        message, extras, _, _ = self.socket.recvmsg(
            _MESSAGE.size, socket.CMSG_LEN(_INT.size), socket.MSG_CMSG_CLOEXEC
        )
        if not extras or len(extras[0][2]) < _INT.size:
            # A thread of the app took the last descriptor in between.
            raise OSError(errno.EMFILE, "a shared connection is lost: too many open files")
        return _INT.unpack(extras[0][2])[0], message

    def waiting(self) -> int:
        """How many wait now."""
        return unread(self.socket.fileno()) // _MESSAGE.size

    def drop(self) -> int:
        """End all that wait; how many there were. Whoever has no descriptor left stops early."""
        count = 0
        with suppress(OSError):
            while True:
                os.close(self.take().fd)
                count += 1
        return count

    def descriptors(self) -> tuple[int, int]:
        """Both sockets; negative once they are closed."""
        return self._into.fileno(), self.socket.fileno()

    def close(self) -> None:
        """This process's copies; the queue lives on in the others'."""
        self._into.close()
        self.socket.close()


def unread(fd: int) -> int:
    """Bytes that the other side of a socket has sent and nobody has read (tcp(7), unix(7)).
    Raises OSError."""
    return int(_INT.unpack(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0])


def _packed(place: Place | None) -> tuple[bytes, int]:
    return (place[0].encode("ascii"), place[1]) if place is not None else (b"", 0)


def _unpacked(host: bytes, port: int) -> Place | None:
    name = host.rstrip(b"\0").decode("ascii")
    return (name, port) if name else None
