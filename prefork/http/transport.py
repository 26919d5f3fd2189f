"""Operations on a transport that asyncio does not offer: how much the client has taken, a receive
low-water mark, and a reset.

Design
------
- **The kernel tells how much a client has read** (TCP_INFO, tcp(7)). Between the app and the client
  lie asyncio's buffer, with TLS two more that cannot be inspected, and the kernel's own. The number
  of acknowledged bytes is the one to which all of them lead. A client that reads slowly but
  steadily must not look like one that has stopped. Rejected: the size of asyncio's write buffer,
  which does not change while the kernel's buffer empties.
- **A closed socket raises ValueError in asyncio, OSError in uvloop.** The first has -1 as its
  descriptor, which ioctl(2) is not even called with; the second keeps its old number.
"""

import asyncio
import fcntl
import socket
import struct
import termios

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, with zero seconds: close sends RST (socket(7))."""

_BYTES_ACKED_OFFSET = 120
"""Offset of tcpi_bytes_acked in the kernel's struct tcp_info; it has eight bytes."""


def delivery_progress(transport: asyncio.Transport) -> int:
    """Return a number that grows as the client takes bytes; 0 if the kernel does not tell.

    Only the comparison of two results means anything. TCP: bytes that the client's kernel has
    acknowledged. Unix sockets: the bytes that are still queued, negative.
    """
    sock = transport.get_extra_info("socket")
    if sock is None:
        return 0
    try:
        if sock.family == socket.AF_UNIX:
            return -transport.get_write_buffer_size() - _queued_bytes(sock.fileno())
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED_OFFSET + 8)
        return int(struct.unpack_from("=Q", info, _BYTES_ACKED_OFFSET)[0])
    except (OSError, ValueError, struct.error):
        return 0  # the socket was closed meanwhile, or the kernel does not count


def is_all_delivered(transport: asyncio.Transport) -> bool:
    """Return whether no buffer that can be inspected has bytes for the client left."""
    sock = transport.get_extra_info("socket")
    try:
        return not transport.get_write_buffer_size() and not (sock and _queued_bytes(sock.fileno()))
    except (OSError, ValueError):
        return True  # the socket was closed meanwhile


def has_unread_data(transport: asyncio.Transport) -> bool:
    """Return whether the kernel has bytes from the client that were not read."""
    sock = transport.get_extra_info("socket")
    try:
        return sock is not None and fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)) != bytes(
            4
        )
    except (OSError, ValueError):
        return False  # the socket was closed meanwhile


def _queued_bytes(fd: int) -> int:
    """Return the bytes in the kernel that the client has not acknowledged (tcp(7)) or read
    (unix(7))."""
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)))[0])


def set_receive_low_water(transport: asyncio.Transport, size: int) -> None:
    """Have the kernel wake the loop only when ``size`` bytes wait (SO_RCVLOWAT).

    The kernel also wakes it at the end of the stream, and when it has no memory for more. TCP only,
    because poll(2) ignores the mark on other sockets.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)


def reset(transport: asyncio.Transport) -> None:
    """Close the connection with a TCP reset, so that the client cannot take it for a proper end."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
