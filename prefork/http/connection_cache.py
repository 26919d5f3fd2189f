"""Data that an app interface derives from a connection, and keeps for its next requests.

Both interfaces give the app a dict for each request, environ or scope, and much of it is the same
for all requests of a client.
"""

from typing import Any


class ConnectionCache:
    """The cache of one connection; an idle connection drops it."""

    __slots__ = ("is_multiplexed", "keys", "tls")

    def __init__(
        self, keys: dict[str, Any], tls: dict[str, Any] | None, is_multiplexed: bool
    ) -> None:
        self.keys = keys
        """The values that all its requests share. A request begins with a copy."""
        self.tls = tls
        """The value of the TLS extension of ASGI; None: the connection is not encrypted, or the
        facts are among the keys."""
        self.is_multiplexed = is_multiplexed
        """Several requests of the connection may be in flight at a time."""
