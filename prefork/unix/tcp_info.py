"""Read the kernel's data about a TCP socket (tcp(7), TCP_INFO; struct tcp_info of linux/tcp.h)."""

import socket
import struct

_INT = struct.Struct("=I")
_BYTE_FIELDS = 8
_UNACKED = _BYTE_FIELDS + 4 * 4
_LAST_DATA_SENT = _BYTE_FIELDS + 9 * 4
"""Offsets of tcpi_unacked and tcpi_last_data_sent in struct tcp_info, after its eight one-byte
fields. In a listening socket tcpi_unacked is the length of the accept queue."""
_TCP, _INFO = socket.IPPROTO_TCP, socket.TCP_INFO


def time_in_queue(accepted: int) -> float | None:
    """Return how many seconds a connection waited to be accepted; None if unknown.

    ``accepted``: its descriptor, right after accept(2). Nothing was sent yet, so the time since the
    last data was sent counts from the creation of the socket, when its handshake was complete. The
    resolution is a millisecond. A unix socket has no such time.
    """
    sock = socket.socket(fileno=accepted)
    try:
        if sock.family == socket.AF_UNIX:
            return None
        info = sock.getsockopt(_TCP, _INFO, _LAST_DATA_SENT + _INT.size)
        return float(_INT.unpack_from(info, _LAST_DATA_SENT)[0] / 1000)
    except (OSError, struct.error):
        return None
    finally:
        sock.detach()  # the descriptor belongs to the caller


def queue_length(listening: socket.socket) -> int:
    """Return how many connections wait to be accepted. Raises OSError, struct.error if unknown."""
    info = listening.getsockopt(_TCP, _INFO, _UNACKED + _INT.size)
    return _INT.unpack_from(info, _UNACKED)[0]  # type: ignore[no-any-return]
