"""What asyncio's transports do not offer: how far the client has read, to be woken for large pieces
only, and a reset.

Between the app and the client lie asyncio's buffer, with TLS two more that nobody can look into,
and the kernel's. What the client has acknowledged is the one number that all of them end in.
"""

import asyncio
import fcntl
import socket
import struct
import termios

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: close sends RST."""

_BYTES_ACKED_OFFSET = 120
"""Where tcpi_bytes_acked stands in the kernel's struct tcp_info, eight bytes of it."""


def delivery_progress(transport: asyncio.Transport) -> int:
    """A number that grows as the client takes bytes; it means nothing else."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return 0
    try:
        if sock.family == socket.AF_UNIX:
            return -transport.get_write_buffer_size() - _queued_bytes(sock.fileno())
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED_OFFSET + 8)
        return int(struct.unpack_from("=Q", info, _BYTES_ACKED_OFFSET)[0])
    except (OSError, struct.error):
        return 0  # closed under our hands, or a kernel that does not count


def is_all_delivered(transport: asyncio.Transport) -> bool:
    """Whether the client has all that can be seen of what it was sent."""
    sock = transport.get_extra_info("socket")
    try:
        return not transport.get_write_buffer_size() and not (sock and _queued_bytes(sock.fileno()))
    except OSError:
        return True  # closed under our hands


def has_unread_data(transport: asyncio.Transport) -> bool:
    """Whether the kernel has bytes of the peer that nobody has read."""
    sock = transport.get_extra_info("socket")
    try:
        return sock is not None and fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)) != bytes(
            4
        )
    except OSError:
        return False  # closed under our hands


def _queued_bytes(fd: int) -> int:
    """Bytes in the kernel that the peer has not acknowledged, or not read (tcp(7), unix(7))."""
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)))[0])


def set_receive_low_water(transport: asyncio.Transport, size: int) -> None:
    """Have the kernel wake us for so many bytes, or the end, or when it has no memory for more
    (SO_RCVLOWAT). TCP only: nobody else's poll(2) cares."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)


def reset(transport: asyncio.Transport) -> None:
    """Cut the connection so that the peer cannot take it for a proper end."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
