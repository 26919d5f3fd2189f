"""Send the TLS alert of a failed handshake to the client (RFC 8446 section 6.2).

Design
------
- **prefork sends the alert itself.** OpenSSL composes it and leaves it in the outgoing buffer, but
  asyncio and uvloop close the connection without sending this buffer. The client would see a bare
  close without a reason.
- **The SSLObject finds its socket through a context variable,** because the event loop creates the
  object and passes nothing else on. Rejected: a duplicate of the descriptor, which would double
  the descriptors that slow handshakes occupy.
"""

import socket
import ssl
from contextlib import suppress
from contextvars import ContextVar
from typing import Any


class AlertSender:
    """Sends the alert of one handshake over ``sock``, which stays its owner's to close."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket: socket.socket | None = sock

    def send(self, alert: bytes) -> None:
        """Send the bytes of an alert without waiting. They are few and fit into the send buffer."""
        if alert and self._socket is not None:
            with suppress(OSError):  # the client has disconnected
                self._socket.send(alert, socket.MSG_DONTWAIT)

    def detach(self) -> None:
        """Drop the socket, because the handshake is over: nothing more is sent."""
        self._socket = None


current_alert_sender: ContextVar[AlertSender | None] = ContextVar(
    "current_alert_sender", default=None
)
"""The sender for the handshake that the current context starts. The event loop creates the
SSLObject in the same context."""


class AlertingSSLObject(ssl.SSLObject):
    """The SSL object of a server's connection; it sends an alert when its handshake fails.

    A context creates it for each connection if it is its ``sslobject_class``.
    """

    _outgoing: ssl.MemoryBIO
    _sender: AlertSender | None

    @classmethod
    def _create(
        cls, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **options: Any
    ) -> "AlertingSSLObject":
        instance: AlertingSSLObject = super()._create(incoming, outgoing, **options)  # type: ignore[misc]
        instance._outgoing, instance._sender = outgoing, current_alert_sender.get()
        return instance

    def do_handshake(self) -> None:
        """Do the handshake; on a failure send the alert before the error is raised."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            if self._sender is not None:
                self._sender.send(self._outgoing.read())
            raise
