"""The way in, by listener: straight, or past a PROXY header, a TLS handshake, or both.

The order is that of the bytes: who the client is, then the handshake, then HTTP. Whoever does not
make it in time, or says something wrong, is let go with no more than TLS's own alert: a proxy that
speaks the protocol wrongly would not understand an answer. Such a connection never
existed for the service, and counts for nothing.
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
"""Seconds that asyncio may try to end TLS; the connection has its own deadlines for that."""


class ConnectionFactory(Protocol):
    """Makes the protocol of a connection."""

    def __call__(self, addresses: Addresses | None = None) -> asyncio.Protocol:
        """``told``: what a proxy said about it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``tls`` None: plain; ``proxies`` None: no PROXY header; ``patience`` is for each of them.
    ``place``: where all connect to who come this way; None: each must be asked."""

    socket: socket.socket
    local_address: HostPort | None
    tls: Credentials | None
    proxies: Networks | None
    handshake_timeout: float

    @property
    def is_direct(self) -> bool:
        """Nothing is asked of those who come."""
        return self.tls is None and self.proxies is None

    def accept(self) -> tuple[int, Any]:
        """The descriptor of the next one, and its address. Raises OSError."""
        return self.socket._accept()  # type: ignore[attr-defined,no-any-return]

    def addresses(self, client: Any) -> Addresses | None:
        """What accept(2) and the listener have told already: two system calls less a connection."""
        return (
            Addresses((client[0], client[1]), self.local_address)
            if self.local_address is not None
            else None
        )


def make_endpoints(
    config: Config, listeners: Mapping[Listener, str], tls: Credentials | None
) -> list[Endpoint]:
    """One for each listener, by its scheme."""
    proxies = Networks(config.proxy_allow) if config.proxy_protocol else None
    return [
        Endpoint(
            listener.socket,
            _local_address(listener.socket),
            tls if scheme == "https" else None,
            proxies,
            config.handshake_timeout,
        )
        for listener, scheme in listeners.items()
    ]


def _local_address(listening: socket.socket) -> HostPort | None:
    name = listening.getsockname()
    if not isinstance(name, tuple) or name[0] in ("0.0.0.0", "::"):
        return None
    return name[0], name[1]


class Handshaker:
    """Lets connections in."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, make_protocol: ConnectionFactory, log: logging.Logger
    ) -> None:
        self._loop = loop
        self._make_protocol = make_protocol
        self._log = log
        self._has_warned = False

    async def connect(self, endpoint: Endpoint, sock: socket.socket, address: Any) -> bool:
        """Through a door that is not open; whether it got in."""
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
            # The transport, if there is one, holds on to it as long as it is needed.
            sock.close()
        return False

    async def _make_connection(
        self, endpoint: Endpoint, sock: socket.socket, addresses: Addresses | None
    ) -> None:
        tls = endpoint.tls
        if tls is None:
            await self._loop.connect_accepted_socket(lambda: self._make_protocol(addresses), sock)
        else:
            sender = AlertSender(sock)
            current_alert_sender.set(sender)
            try:
                await self._loop.connect_accepted_socket(
                    lambda: self._make_protocol(addresses),
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
        """Read the PROXY header, and not a byte of what is behind it."""
        if (address[0] if isinstance(address, tuple) else None) not in proxies:
            raise ProxyProtocolError("it is not in --proxy-allow")
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
                    raise ConnectionResetError("it left before its PROXY header was whole")
                return seen

    async def _wait_readable(self, fd: int, deadline: float) -> None:
        """Not by asyncio.timeout, which asks for the running loop: WSGI hides it."""
        readable = self._loop.create_future()

        def finish(error: Exception | None) -> None:
            if not readable.done():
                readable.set_exception(error) if error else readable.set_result(None)

        self._loop.add_reader(fd, finish, None)
        late = TimeoutError("its PROXY header took too long")
        timer = self._loop.call_at(deadline, finish, late)
        try:
            await readable
        finally:
            self._loop.remove_reader(fd)
            timer.cancel()

    def _log_rejected(self, address: Any, error: ProxyProtocolError) -> None:
        """Aloud only once: a proxy that is set up wrongly is so for every connection."""
        level = logging.DEBUG if self._has_warned else logging.WARNING
        self._has_warned = True
        self._log.log(level, "--proxy-protocol: turned away %s: %s", _client_name(address), error)


def _client_name(address: Any) -> str:
    return str(address[0]) if isinstance(address, tuple) else "a unix client"
