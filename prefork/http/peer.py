"""The addresses of a connection and its TLS object. They are read once, when it is made.

Design
------
- **With a PROXY header the addresses are those of the header.** They also decide whether a client
  is a trusted proxy, not the address of the relay that sent the bytes: a relay of TCP cannot vouch
  for the HTTP inside.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    import ssl

HostPort = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The address of the client and the one that it connected to; None: a unix socket."""

    client: HostPort | None
    server: HostPort | None


class Peer:
    """The other end of a connection: ``client`` and ``server`` address, and ``tls``, the SSL object
    of an encrypted connection (None: the connection is not encrypted).
    """

    __slots__ = ("client", "server", "socket_path", "tls")

    def __init__(
        self, transport: "asyncio.BaseTransport", addresses: Addresses | None = None
    ) -> None:
        """``addresses``: those of a PROXY header; None: those of the socket are used."""
        get_info = transport.get_extra_info
        if addresses is None:
            self.client = _host_port(get_info("peername"))
            self.server = _host_port(get_info("sockname"))
        else:
            self.client, self.server = addresses.client, addresses.server
        path = get_info("sockname") if self.server is None else None
        self.socket_path = path if path and isinstance(path, str) else None
        """The path of the server's unix socket; None: it has none, or the socket is of TCP."""
        self.tls: ssl.SSLObject | None = get_info("ssl_object")

    @property
    def host(self) -> str | None:
        """The client's IP address; None on a unix socket."""
        return self.client[0] if self.client is not None else None

    @property
    def scheme(self) -> str:
        """The URL scheme of the connection: ``http`` or ``https``."""
        return "http" if self.tls is None else "https"


def _host_port(name: object) -> HostPort | None:
    return (name[0], name[1]) if isinstance(name, tuple) else None
