"""How many connections wait in a listener's queue, asked of the kernel."""

import os
import socket
import struct

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


def waiting(listener: socket.socket) -> int:
    """Connections that nobody has accepted yet; 0 as well where the kernel does not tell."""
    try:
        if listener.family == socket.AF_UNIX:
            return _of_unix(listener)
        return queue_length(listener) or 0
    except (OSError, struct.error):
        return 0


def _of_unix(listener: socket.socket) -> int:
    """sock_diag(7), asked for one socket by its inode. /proc/net/unix would show all there are."""
    inode = os.fstat(listener.fileno()).st_ino
    query = _QUERY.pack(socket.AF_UNIX, 0, 0, _ANY, inode, _SHOW_QUEUE, _ANY, _ANY)
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    with socket.socket(socket.AF_NETLINK, kind, _SOCK_DIAG) as kernel:
        kernel.send(_HEADER.pack(_HEADER.size + len(query), _BY_FAMILY, _REQUEST, 1, 0) + query)
        return _queue(kernel.recv(4096))


def _queue(answer: bytes) -> int:
    length, kind, *_ = _HEADER.unpack_from(answer)
    at = _HEADER.size + _ANSWER if kind == _BY_FAMILY else length
    while at < length:
        size, name = _ATTRIBUTE.unpack_from(answer, at)
        if name == _QUEUE:
            return int(struct.unpack_from("=I", answer, at + _ATTRIBUTE.size)[0])
        at += (size + 3) & ~3
    return 0
