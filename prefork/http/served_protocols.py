"""The protocols that one worker serves: makes the connection of each client.

Design
------
- **The implementations are imported with this module,** so that the master has them before it
  forks, and a worker that has changed its user need not read their files.
- **A TLS connection is made at the end of its handshake.** asyncio wants the protocol object before
  the handshake (``start_tls`` as well), and only the end tells which protocol the client speaks. So
  a small object stands there until then, and gives the transport to the connection.
"""

import asyncio
import pkgutil
from collections.abc import Mapping
from typing import Protocol, cast

from prefork.http.exchange import ClientConnection
from prefork.http.peer import Addresses
from prefork.http.protocols import DEFAULT_PROTOCOL, PROTOCOLS
from prefork.http.server_state import ServerState


class ServedConnection(ClientConnection, Protocol):
    """The connection of a client; to the event loop it is an ``asyncio.Protocol``."""

    @property
    def is_idle(self) -> bool:
        """Return whether the connection waits for the next request of its client."""

    @property
    def awaits_request(self) -> bool:
        """Return whether the client has yet to send a part of a request, or all of it."""

    @property
    def awaits_reader(self) -> bool:
        """Return whether a response waits for the client to read."""

    def connection_made(self, transport: asyncio.BaseTransport, /) -> None:
        """Begin to wait for the first request."""

    def data_received(self, data: bytes, /) -> None:
        """Start the requests in bytes that arrived."""

    def eof_received(self) -> bool | None:
        """Decide about a client that sent its last byte; True: keep the connection open."""

    def connection_lost(self, error: Exception | None, /) -> None:
        """End all requests of a connection that is gone."""

    def pause_writing(self) -> None:
        """Wait for the client to read."""

    def resume_writing(self) -> None:
        """Go on with what waited for the client."""

    def abort(self) -> None:
        """Reset the connection."""


class HttpProtocol(Protocol):
    """A protocol as one worker speaks it: its connections, and what they share.

    It may register what it does at each tick (``ServerState.call_at_each_tick``).
    """

    def __init__(self, server: ServerState, /) -> None:
        """``server``: what the connections of all protocols share."""

    def connect(self, addresses: Addresses | None = None, /) -> ServedConnection:
        """Return the connection of a client, whose transport is to follow. ``addresses``: of client
        and server, from a PROXY header or the listener; None: the socket is asked."""


IMPLEMENTATIONS: dict[str, type[HttpProtocol]] = {
    entry.alpn_name: pkgutil.resolve_name(entry.implementation) for entry in PROTOCOLS
}
"""By ALPN name."""


class ServedProtocols:
    """Makes the connections of one worker."""

    def __init__(
        self,
        server: ServerState,
        implementations: Mapping[str, type[HttpProtocol]] = IMPLEMENTATIONS,
    ) -> None:
        self._protocols = {name: make(server) for name, make in implementations.items()}
        self.default = self._protocols[DEFAULT_PROTOCOL]
        """The protocol of clients that chose none."""

    def connect(self, addresses: Addresses | None = None) -> asyncio.Protocol:
        """Return the connection of a client without TLS, which speaks the default protocol."""
        return cast(asyncio.Protocol, self.default.connect(addresses))

    def connect_tls(self, addresses: Addresses | None = None) -> asyncio.Protocol:
        """Return the protocol object of a client whose TLS handshake is to follow."""
        return ProtocolChoice(self, addresses)

    def connect_chosen(
        self, transport: asyncio.BaseTransport, addresses: Addresses | None
    ) -> ServedConnection:
        """Return the connection in the protocol that the client chose in the TLS handshake."""
        chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        return self._protocols.get(chosen, self.default).connect(addresses)


class ProtocolChoice(asyncio.Protocol):
    """Stands for a connection until the end of its TLS handshake."""

    def __init__(self, protocols: ServedProtocols, addresses: Addresses | None) -> None:
        self._protocols = protocols
        self._addresses = addresses

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the transport to the connection in the protocol that the client chose."""
        connection = self._protocols.connect_chosen(transport, self._addresses)
        tls_transport = cast(asyncio.Transport, transport)
        tls_transport.set_protocol(cast(asyncio.Protocol, connection))
        connection.connection_made(transport)
