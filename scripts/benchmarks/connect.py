"""Opens a connection that is ready for its first request: TCP, with TLS or WebSocket where needed.

Certificates are not verified: `scripts/bench` has made the certificate and started the server.
"""

from __future__ import annotations

import socket
import ssl

from .loads import Load


class BadAnswerError(Exception):
    """The server's answer is not the one that the load expects, or it is not HTTP."""


def _create_tls_context() -> ssl.SSLContext:
    """Return a client context that verifies neither the certificate nor its host name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


TLS = _create_tls_context()


def connect(port: int, load: Load, timeout: float | None = None) -> socket.socket:
    """Return a blocking connection to 127.0.0.1 on which `load` can be sent.

    `timeout` is in seconds. Without one each send and receive is a single system call.

    The TLS handshake takes place during the first sends and receives. Were it made here, the
    generator could wait for a server that in turn waits for another connection of the generator.
    Raises BadAnswerError when the server does not switch to WebSocket.
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
    """Send `opening` and read the head of the response.

    It is read byte by byte, because the bytes after the head belong to the new protocol.
    """
    connection.sendall(opening)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            raise BadAnswerError(f"no switch of protocols: {head[:60]!r}")
        head += byte
    if not head.startswith(b"HTTP/1.1 101 "):
        raise BadAnswerError(f"no switch of protocols: {head[:60]!r}")
