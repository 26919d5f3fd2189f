"""Ask the kernel how many connections wait in a listener's queue to be accepted.

TCP listeners tell it in TCP_INFO (unix/tcp_info.py), unix sockets by sock_diag(7).
"""

import os
import socket
import struct
from contextlib import suppress
from socket import socket as _Socket  # noqa: N812 - as it was before an app patched the module

from prefork.unix.tcp_info import queue_length

# From linux/netlink.h, linux/sock_diag.h and linux/unix_diag.h.
_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_UDIAG_SHOW_RQLEN = 0x10
_UNIX_DIAG_RQLEN = 4
_MESSAGE_HEADER = struct.Struct("=IHHII")
_UNIX_DIAG_REQUEST = struct.Struct("=BBHIIIII")
_UNIX_DIAG_MESSAGE_SIZE = 16
"""Bytes of struct unix_diag_msg, which stands before the attributes."""
_ATTRIBUTE = struct.Struct("=HH")
_ANY = 0xFFFFFFFF  # all states of a socket, and any cookie


def accept_queue_length(listener: socket.socket) -> int:
    """Return how many connections wait to be accepted; 0 as well where the kernel does not tell."""
    queue = AcceptQueue(listener)
    try:
        return queue.length()
    finally:
        queue.close()


class AcceptQueue:
    """The accept queue of one listener; it keeps its netlink socket open for frequent queries."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._netlink: socket.socket | None = None
        if listener.family == socket.AF_UNIX:
            with suppress(OSError):
                self._open()

    def _open(self) -> None:
        """Open a sock_diag(7) socket and prepare a query for this socket's inode.

        /proc/net/unix would list all unix sockets of the machine instead.
        """
        inode = os.fstat(self._listener.fileno()).st_ino
        query = _UNIX_DIAG_REQUEST.pack(
            socket.AF_UNIX, 0, 0, _ANY, inode, _UDIAG_SHOW_RQLEN, _ANY, _ANY
        )
        self._query = (
            _MESSAGE_HEADER.pack(
                _MESSAGE_HEADER.size + len(query), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0
            )
            + query
        )
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._netlink = _Socket(socket.AF_NETLINK, kind, _SOCK_DIAG)

    def close(self) -> None:
        """Close the netlink socket; the listener stays open."""
        if self._netlink is not None:
            self._netlink.close()

    def length(self) -> int:
        """Return how many connections wait now; 0 where the kernel does not tell."""
        netlink = self._netlink
        try:
            if netlink is None:
                return queue_length(self._listener)
            netlink.send(self._query)
            return _parse_queue_length(netlink.recv(4096))
        except (OSError, struct.error):
            # A kernel without unix_diag, or a sandbox that forbids netlink.
            return 0


def _parse_queue_length(answer: bytes) -> int:
    """Return the queue length (UNIX_DIAG_RQLEN) from a sock_diag answer; 0 if it has none."""
    length, kind, *_ = _MESSAGE_HEADER.unpack_from(answer)
    # An error message, as for a kernel without unix_diag, has no attributes.
    at = _MESSAGE_HEADER.size + _UNIX_DIAG_MESSAGE_SIZE if kind == _SOCK_DIAG_BY_FAMILY else length
    while at < length:
        size, name = _ATTRIBUTE.unpack_from(answer, at)
        if name == _UNIX_DIAG_RQLEN:
            return int(struct.unpack_from("=I", answer, at + _ATTRIBUTE.size)[0])
        at += (size + 3) & ~3  # attributes are aligned to four bytes
    return 0
