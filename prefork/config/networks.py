"""Parse networks, and test whether the address of a peer is in one of them. PURE.

10.0.0.0/8   192.0.2.1   fd00::/8       a network, or one address
unix                                    every peer on a unix socket
*                                       every peer
"""

import ipaddress
from collections.abc import Iterable

UNIX = "unix"
ANY = "*"


def parse_network(text: str) -> str:
    """Return the canonical text of a network. Raises ValueError, which says what was expected."""
    if text in (UNIX, ANY):
        return text
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        if "host bits" in str(error):
            near = ipaddress.ip_network(text, strict=False)
            raise ValueError(f"{near}, for {text} lies inside of it") from None
        raise ValueError(f"a network such as 10.0.0.0/8, an address, {UNIX} or *") from None


class Networks:
    """A set of networks, made from texts that ``parse_network`` returned."""

    def __init__(self, words: Iterable[str]) -> None:
        words = list(words)
        self._matches_any = ANY in words
        self._matches_unix = UNIX in words
        plain = [word for word in words if word not in (UNIX, ANY)]
        self._networks = [ipaddress.ip_network(word) for word in plain]

    def __contains__(self, host: str | None) -> bool:
        """Return whether the peer is in one of the networks.

        ``host`` is its IP address, with or without a zone; None for a peer on a unix socket.
        """
        if self._matches_any:
            return True
        if host is None:
            return self._matches_unix
        address = ipaddress.ip_address(host.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            # A socket that accepts both families shows IPv4 peers as ::ffff:192.0.2.1.
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)
