"""What the kernel knows of a TCP socket (tcp(7), TCP_INFO; struct tcp_info of linux/tcp.h)."""

import socket
import struct

_INT = struct.Struct("=I")
_U8S = 8
_UNACKED = _U8S + 4 * 4
_LAST_DATA_SENT = _U8S + 9 * 4
_TCP, _INFO = socket.IPPROTO_TCP, socket.TCP_INFO


def time_in_queue(accepted: int) -> float | None:
    """Seconds that a connection waited to be accepted, to the millisecond; None: not known.

    To be asked of its descriptor right after accept(2): nothing was sent yet, and the time since
    something was sent counts from the birth of the socket, when its handshake was done.
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
        sock.detach()


def queue_length(listening: socket.socket) -> int:
    """How many connections wait to be accepted there. Raises OSError, struct.error: not known."""
    info = listening.getsockopt(_TCP, _INFO, _UNACKED + _INT.size)
    return _INT.unpack_from(info, _UNACKED)[0]  # type: ignore[no-any-return]
