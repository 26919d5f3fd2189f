"""A connection that is ready for its first request: TCP, and TLS or WebSocket where a load says so.

The servers are our own and their certificate is made by the bench, so nobody's name is checked.
"""

from __future__ import annotations

import socket
import ssl

from .loads import Load


class BadAnswerError(Exception):
    """The server's answer is not what the load asks for, or no HTTP at all."""


def _create_tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


TLS = _create_tls_context()


def connect(port: int, load: Load, timeout: float | None = None) -> socket.socket:
    """A blocking connection, without `timeout` with the fewest system calls.

    Its TLS handshake is made by the first sends and receives: a generator that waited for it could
    wait for a server that is waiting for another of the generator's connections.
    """
    connection = socket.socket()
    try:
        if timeout is not None:
            connection.settimeout(timeout)
        connection.connect(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if load.need == "tls":
            connection = TLS.wrap_socket(connection, do_handshake_on_connect=False)
        if load.opening:
            _switch_protocols(connection, load.opening)
    except BaseException:
        connection.close()
        raise
    return connection


def _switch_protocols(connection: socket.socket, opening: bytes) -> None:
    """Byte by byte, as what follows the head is not ours to read."""
    connection.sendall(opening)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            raise BadAnswerError(f"no switch of protocols: {head[:60]!r}")
        head += byte
    if not head.startswith(b"HTTP/1.1 101 "):
        raise BadAnswerError(f"no switch of protocols: {head[:60]!r}")
