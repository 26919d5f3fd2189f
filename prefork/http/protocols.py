"""The table of the protocols in which a worker speaks to its clients, by their ALPN names.

A protocol is a package of its own in ``http/`` and an entry here. TLS offers the names to clients
(tls/credentials.py), and the name that a client chose decides what its connection is
(served_protocols.py). Nothing else of prefork names a protocol: app interfaces, logs, deadlines,
handoff and status server know requests and open connections (exchange.py).

Design
------
- **Classes are named as text, "module:class",** like those of the app interfaces
  (config/interfaces.py). TLS contexts are made by the master, which needs the names and not the
  parsers.
- **A connection without TLS speaks the default protocol.** HTTP/2 without TLS needs a client that
  knows beforehand that the server speaks it (RFC 9113 section 3.3); browsers do not support it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProtocolEntry:
    """One protocol. ``alpn_name``: its name in the TLS handshake (RFC 7301; the registry of IANA
    is "TLS Application-Layer Protocol Negotiation (ALPN) Protocol IDs"). ``implementation``: its
    HttpProtocol (served_protocols.py).
    """

    alpn_name: str
    implementation: str


DEFAULT_PROTOCOL = "http/1.1"
"""The protocol of clients that chose none: those without TLS or without ALPN."""

PROTOCOLS = (
    ProtocolEntry("http/1.1", "prefork.http.http1.http1_protocol:Http1Protocol"),
)  # fmt: skip
"""In the order of the server's preference."""

ALPN_NAMES = tuple(entry.alpn_name for entry in PROTOCOLS)
