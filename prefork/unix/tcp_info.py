"""What the kernel knows of a TCP socket (tcp(7), TCP_INFO; struct tcp_info of linux/tcp.h)."""

import socket
import struct

_U8S = 8
_UNACKED = _U8S + 4 * 4
_LAST_DATA_SENT = _U8S + 9 * 4
_SIZE = _LAST_DATA_SENT + 4


def time_in_queue(accepted: int) -> float | None:
    """Seconds that a connection waited to be accepted, to the millisecond; None: not known.

    To be asked of its descriptor right after accept(2): nothing was sent yet, and the time since
    something was sent counts from the birth of the socket, when its handshake was done.
    """
    sock = socket.socket(fileno=accepted)
    try:
        told = _ask(sock, _LAST_DATA_SENT)
    finally:
        sock.detach()
    return None if told is None else told / 1000


def queue_length(listening: socket.socket) -> int | None:
    """How many connections wait to be accepted there; None: not known."""
    return _ask(listening, _UNACKED)


def _ask(sock: socket.socket, offset: int) -> int | None:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    except OSError:
        return None
    return int(struct.unpack_from("I", told, offset)[0]) if len(told) == _SIZE else None
