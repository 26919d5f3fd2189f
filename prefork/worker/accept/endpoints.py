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

_FOREVER = 10 * 365 * 86400.0
"""Seconds that asyncio may try to end TLS; the connection has its own deadlines for that."""


class ConnectionFactory(Protocol):
    """Makes the protocol of a connection."""

    def __call__(self, told: Addresses | None = None) -> asyncio.Protocol:
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
            _place_of(listener.socket),
            tls if scheme == "https" else None,
            proxies,
            config.handshake_timeout,
        )
        for listener, scheme in listeners.items()
    ]


def _place_of(listening: socket.socket) -> HostPort | None:
    name = listening.getsockname()
    if not isinstance(name, tuple) or name[0] in ("0.0.0.0", "::"):
        return None
    return name[0], name[1]


class Handshaker:
    """Lets connections in."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, make: ConnectionFactory, log: logging.Logger
    ) -> None:
        self._loop = loop
        self._make = make
        self._log = log
        self._complained = False

    async def admit(self, door: Endpoint, taken: socket.socket, address: Any) -> bool:
        """Through a door that is not open; whether it got in."""
        try:
            told = None
            if door.proxies is not None:
                told = await self._introduced(taken, address, door.proxies, door.handshake_timeout)
            await self._shake_hands(door, taken, told)
            return True
        except ProxyProtocolError as error:
            self._complain(address, error)
        except OSError as error:  # TimeoutError and SSLError are, too
            self._log.debug("%s did not get in: %s", _shown(address), error)
        except asyncio.CancelledError:
            self._log.debug("%s did not get in before the worker left", _shown(address))
            raise
        finally:
            # The transport, if there is one, holds on to it as long as it is needed.
            taken.close()
        return False

    async def _shake_hands(
        self, door: Endpoint, taken: socket.socket, told: Addresses | None
    ) -> None:
        tls = door.tls
        if tls is None:
            await self._loop.connect_accepted_socket(lambda: self._make(told), taken)
        else:
            sender = AlertSender(taken)
            current_alert_sender.set(sender)
            try:
                await self._loop.connect_accepted_socket(
                    lambda: self._make(told),
                    taken,
                    ssl=tls.context,
                    ssl_handshake_timeout=door.handshake_timeout,
                    ssl_shutdown_timeout=_FOREVER,
                )
            finally:
                sender.detach()

    async def _introduced(
        self, taken: socket.socket, address: Any, proxies: Networks, patience: float
    ) -> Addresses | None:
        """Read the PROXY header, and not a byte of what is behind it."""
        if (address[0] if isinstance(address, tuple) else None) not in proxies:
            raise ProxyProtocolError("it is not in --proxy-allow")
        taken.setblocking(False)
        until = self._loop.time() + patience
        data = b""
        while True:
            seen = await self._peek(taken, until)
            header = parse_proxy_header(data + seen)
            if header is not None:
                taken.recv(header.size - len(data))
                return header.addresses
            data += taken.recv(len(seen))

    async def _peek(self, taken: socket.socket, until: float) -> bytes:
        while True:
            try:
                seen = taken.recv(MAX_HEADER_SIZE, socket.MSG_PEEK)
            except BlockingIOError:
                await self._readable(taken.fileno(), until)
            else:
                if not seen:
                    raise ConnectionResetError("it left before its PROXY header was whole")
                return seen

    async def _readable(self, fd: int, until: float) -> None:
        """Not by asyncio.timeout, which asks for the running loop: WSGI hides it."""
        there = self._loop.create_future()

        def come(error: Exception | None) -> None:
            if not there.done():
                there.set_exception(error) if error else there.set_result(None)

        self._loop.add_reader(fd, come, None)
        late = TimeoutError("its PROXY header took too long")
        timer = self._loop.call_at(until, come, late)
        try:
            await there
        finally:
            self._loop.remove_reader(fd)
            timer.cancel()

    def _complain(self, address: Any, error: ProxyProtocolError) -> None:
        """Aloud only once: a proxy that is set up wrongly is so for every connection."""
        level = logging.DEBUG if self._complained else logging.WARNING
        self._complained = True
        self._log.log(level, "--proxy-protocol: turned away %s: %s", _shown(address), error)


def _shown(address: Any) -> str:
    return str(address[0]) if isinstance(address, tuple) else "a unix client"
