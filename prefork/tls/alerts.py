"""The alert of a handshake that failed (RFC 8446 section 6.2).

OpenSSL makes one and leaves it in the outgoing buffer. asyncio and uvloop close the connection
without sending what is there, so a client would see a bare close and could not tell why. Here the
alert goes to the socket before they hear of the failure.
"""

import socket
import ssl
from contextlib import suppress
from contextvars import ContextVar
from typing import Any


class AlertSender:
    """Sends the alert of one handshake. A copy of the socket was tried instead: it doubled the
    descriptors of handshakes that do not come."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket: socket.socket | None = sock

    def send(self, alert: bytes) -> None:
        """As far as it goes without waiting: a few bytes, for which the kernel has room."""
        if alert and self._socket is not None:
            with suppress(OSError):  # the client is gone
                self._socket.send(alert, socket.MSG_DONTWAIT)

    def detach(self) -> None:
        """The handshake is over."""
        self._socket = None


current_alert_sender: ContextVar[AlertSender | None] = ContextVar("to_client", default=None)
"""Set by the code that starts a handshake, in whose context the loop makes the SSLObject: it tells
that object nothing else of its connection."""


class AlertingSSLObject(ssl.SSLObject):
    """What ``SSLContext.sslobject_class`` makes for each connection."""

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
        """As always, but a failure is told the client."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            if self._sender is not None:
                self._sender.send(self._outgoing.read())
            raise
