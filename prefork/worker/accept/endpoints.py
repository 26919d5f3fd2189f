"""The listeners of a worker as endpoints, and the handshakes before HTTP: PROXY header and TLS.

The order is that of the bytes: the PROXY header says which client it is, then comes the TLS
handshake, then HTTP. A connection that is too slow or breaks a protocol is closed with no more than
TLS's own alert: a proxy that speaks the PROXY protocol wrongly would not understand an HTTP
response. The HTTP service never learns of such a connection, and no statistics count it.

Design
------
- **A peer that is not in ``--proxy-allow`` is closed,** not served as if it had connected directly.
  The specification of the PROXY protocol forbids guessing whether a header comes, and an operator
  who sets the option says that all connections come through the proxy.
"""

import asyncio
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from prefork.config import Config
from prefork.config.networks import Networks
from prefork.http.peer import Addresses, HostPort
from prefork.http.proxy_protocol import MAX_HEADER_SIZE, ProxyProtocolError, parse_proxy_header
from prefork.tls.alerts import AlertSender, current_alert_sender
from prefork.tls.credentials import Credentials
from prefork.unix.listeners import Listener

_TLS_CLOSE_TIMEOUT = 10 * 365 * 86400.0
"""Seconds that asyncio may take to end TLS: the connection has deadlines of its own for that
(``OpenConnection.deadline``)."""


class ConnectionFactory(Protocol):
    """Makes the protocol objects of new connections (ServedProtocols in http).

    ``addresses``: of client and server, from a PROXY header or the listener; None: the socket is
    asked.
    """

    def connect(self, addresses: Addresses | None = None, /) -> asyncio.Protocol:
        """Make the protocol object of a connection without TLS."""

    def connect_tls(self, addresses: Addresses | None = None, /) -> asyncio.Protocol:
        """Make the protocol object of a connection whose TLS handshake is to follow."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A listener, and the handshakes that its connections begin with.

    ``family``: the address family as a plain number, since ``socket.family`` makes an enum of it
    each time. ``tls``: None for plain connections. ``proxies``: peers that may send a PROXY header;
    None: no header is expected. ``handshake_timeout``: seconds for the PROXY header, and again for
    TLS. ``local_address``: the address that all clients of this listener connect to; None: it
    differs, and the kernel has to be asked for each connection.
    """

    socket: socket.socket
    family: int
    local_address: HostPort | None
    tls: Credentials | None
    proxies: Networks | None
    handshake_timeout: float

    @property
    def is_direct(self) -> bool:
        """Return whether connections begin with HTTP, without a PROXY header or TLS."""
        return self.tls is None and self.proxies is None

    def accept(self) -> tuple[int, Any]:
        """Accept a connection and return its descriptor and the peer's address. Raises OSError."""
        # Not accept(), which makes a socket object (accepted_socket.py).
        return self.socket._accept()  # type: ignore[attr-defined,no-any-return]

    def addresses(self, client: Any) -> Addresses | None:
        """Return the addresses of a connection without asking the kernel, which saves two system
        calls; None when they are not known."""
        return (
            Addresses((client[0], client[1]), self.local_address)
            if self.local_address is not None
            else None
        )


def make_endpoints(
    config: Config, listeners: Mapping[Listener, str], tls: Credentials | None
) -> list[Endpoint]:
    """Return one endpoint for each listener, by the scheme of its URL."""
    proxies = Networks(config.proxy_allow) if config.proxy_protocol else None
    return [
        Endpoint(
            listener.socket,
            int(listener.socket.family),
            _local_address(listener.socket),
            tls if scheme == "https" else None,
            proxies,
            config.handshake_timeout,
        )
        for listener, scheme in listeners.items()
    ]


def _local_address(listening: socket.socket) -> HostPort | None:
    """Return the address that all clients connect to; None for a unix socket or a wildcard."""
    name = listening.getsockname()
    if not isinstance(name, tuple) or name[0] in ("0.0.0.0", "::"):
        return None
    return name[0], name[1]


class Handshaker:
    """Reads PROXY headers and does TLS handshakes, then makes the connection."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocols: ConnectionFactory, log: logging.Logger
    ) -> None:
        self._loop = loop
        self._protocols = protocols
        self._log = log
        self._has_warned = False

    async def connect(self, endpoint: Endpoint, sock: socket.socket, address: Any) -> bool:
        """Do the handshakes of one connection and return whether it became an HTTP connection."""
        try:
            addresses = None
            if endpoint.proxies is not None:
                addresses = await self._read_proxy_header(
                    sock, address, endpoint.proxies, endpoint.handshake_timeout
                )
            await self._make_connection(endpoint, sock, addresses)
            return True
        except ProxyProtocolError as error:
            self._log_rejected(address, error)
        except OSError as error:  # TimeoutError and SSLError are, too
            self._log.debug("%s did not get in: %s", _client_name(address), error)
        except asyncio.CancelledError:
            self._log.debug("%s did not get in before the worker left", _client_name(address))
            raise
        finally:
            # The transport, if there is one, keeps the socket open as long as it needs it.
            sock.close()
        return False

    async def _make_connection(
        self, endpoint: Endpoint, sock: socket.socket, addresses: Addresses | None
    ) -> None:
        def connect() -> asyncio.Protocol:
            return self._protocols.connect(addresses)

        def connect_tls() -> asyncio.Protocol:
            return self._protocols.connect_tls(addresses)

        tls = endpoint.tls
        if tls is None:
            await self._loop.connect_accepted_socket(connect, sock)
        else:
            sender = AlertSender(sock)
            current_alert_sender.set(sender)
            try:
                await self._loop.connect_accepted_socket(
                    connect_tls,
                    sock,
                    ssl=tls.context,
                    ssl_handshake_timeout=endpoint.handshake_timeout,
                    ssl_shutdown_timeout=_TLS_CLOSE_TIMEOUT,
                )
            finally:
                sender.detach()

    async def _read_proxy_header(
        self, sock: socket.socket, address: Any, proxies: Networks, timeout: float
    ) -> Addresses | None:
        """Read the PROXY header and no byte behind it; return the addresses that it names."""
        if (address[0] if isinstance(address, tuple) else None) not in proxies:
            raise ProxyProtocolError("its address is not in --proxy-allow")
        sock.setblocking(False)
        deadline = self._loop.time() + timeout
        data = b""
        while True:
            seen = await self._peek(sock, deadline)
            header = parse_proxy_header(data + seen)
            if header is not None:
                sock.recv(header.size - len(data))
                return header.addresses
            data += sock.recv(len(seen))

    async def _peek(self, sock: socket.socket, deadline: float) -> bytes:
        while True:
            try:
                seen = sock.recv(MAX_HEADER_SIZE, socket.MSG_PEEK)
            except BlockingIOError:
                await self._wait_readable(sock.fileno(), deadline)
            else:
                if not seen:
                    raise ConnectionResetError(
                        "the client left before its PROXY header was complete"
                    )
                return seen

    async def _wait_readable(self, fd: int, deadline: float) -> None:
        """Wait until a descriptor is readable. Raises TimeoutError at ``deadline`` (in time of the
        loop). asyncio.timeout is no help: it asks for the running loop, which WSGI hides."""
        readable = self._loop.create_future()

        def finish(error: Exception | None) -> None:
            if not readable.done():
                readable.set_exception(error) if error else readable.set_result(None)

        self._loop.add_reader(fd, finish, None)
        late = TimeoutError("the PROXY header took too long")
        timer = self._loop.call_at(deadline, finish, late)
        try:
            await readable
        finally:
            self._loop.remove_reader(fd)
            timer.cancel()

    def _log_rejected(self, address: Any, error: ProxyProtocolError) -> None:
        """Log a rejected connection as a warning once, then at debug level: a proxy that is set up
        wrongly sends the same with each connection."""
        level = logging.DEBUG if self._has_warned else logging.WARNING
        self._has_warned = True
        self._log.log(level, "--proxy-protocol: turned away %s: %s", _client_name(address), error)


def _client_name(address: Any) -> str:
    return str(address[0]) if isinstance(address, tuple) else "a unix client"
