"""How many connections wait in a listener's queue, asked of the kernel."""

import os
import socket
import struct
from contextlib import suppress
from socket import socket as _Socket  # noqa: N812 - as it was before an app patched the module

from prefork.unix.tcp_info import queue_length

_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST = 1
_SHOW_QUEUE = 0x10
_QUEUE = 4
_HEADER = struct.Struct("=IHHII")
_QUERY = struct.Struct("=BBHIIIII")
_ANSWER = 16
_ATTRIBUTE = struct.Struct("=HH")
_ANY = 0xFFFFFFFF


def accept_queue_length(listener: socket.socket) -> int:
    """Connections that nobody has accepted yet; 0 as well where the kernel does not tell."""
    backlog = AcceptQueue(listener)
    try:
        return backlog.length()
    finally:
        backlog.close()


class AcceptQueue:
    """The same of one listener, for who asks often."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._kernel: socket.socket | None = None
        if listener.family == socket.AF_UNIX:
            with suppress(OSError):
                self._open()

    def _open(self) -> None:
        """sock_diag(7), for one socket by its inode; /proc/net/unix would show all there are."""
        inode = os.fstat(self._listener.fileno()).st_ino
        query = _QUERY.pack(socket.AF_UNIX, 0, 0, _ANY, inode, _SHOW_QUEUE, _ANY, _ANY)
        self._question = _HEADER.pack(_HEADER.size + len(query), _BY_FAMILY, _REQUEST, 1, 0) + query
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._kernel = _Socket(socket.AF_NETLINK, kind, _SOCK_DIAG)

    def close(self) -> None:
        """The listener stays open."""
        if self._kernel is not None:
            self._kernel.close()

    def length(self) -> int:
        """How many wait now."""
        kernel = self._kernel
        try:
            if kernel is None:
                return queue_length(self._listener)
            kernel.send(self._question)
            return _queue(kernel.recv(4096))
        except (OSError, struct.error):
            return 0


def _queue(answer: bytes) -> int:
    length, kind, *_ = _HEADER.unpack_from(answer)
    at = _HEADER.size + _ANSWER if kind == _BY_FAMILY else length
    while at < length:
        size, name = _ATTRIBUTE.unpack_from(answer, at)
        if name == _QUEUE:
            return int(struct.unpack_from("=I", answer, at + _ATTRIBUTE.size)[0])
        at += (size + 3) & ~3
    return 0
