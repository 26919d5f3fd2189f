"""Who is at the other end of a connection, and over what: known when it is made, and then fixed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    import ssl

HostPort = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Who connected to where; None on a unix socket."""

    client: HostPort | None
    server: HostPort | None


class Peer:
    """``tls`` is what there is to know of an encrypted connection; None: it is plain."""

    __slots__ = ("client", "server", "tls")

    def __init__(
        self, transport: "asyncio.BaseTransport", addresses: Addresses | None = None
    ) -> None:
        """``told``: what a proxy in front says, instead of what the socket says."""
        get_info = transport.get_extra_info
        if addresses is None:
            self.client = _host_port(get_info("peername"))
            self.server = _host_port(get_info("sockname"))
        else:
            self.client, self.server = addresses.client, addresses.server
        self.tls: ssl.SSLObject | None = get_info("ssl_object")

    @property
    def host(self) -> str | None:
        """The client's address; None on a unix socket."""
        return self.client[0] if self.client is not None else None

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return "http" if self.tls is None else "https"


def _host_port(name: object) -> HostPort | None:
    return (name[0], name[1]) if isinstance(name, tuple) else None
