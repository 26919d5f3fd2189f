"""What asyncio's transports do not offer: how much is unsent, and a reset instead of a close."""

import asyncio
import fcntl
import socket
import struct
import termios

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: close sends RST."""


def unsent(transport: asyncio.Transport) -> int:
    """Bytes that the peer has not taken, in our buffer and in the kernel's (tcp(7))."""
    size = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sock is None or transport.is_closing():
        return size
    queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    return size + int(struct.unpack("i", queued)[0])


def reset(transport: asyncio.Transport) -> None:
    """Cut the connection so that the peer cannot take it for a proper end."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
