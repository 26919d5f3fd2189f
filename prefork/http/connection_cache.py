"""Data that an app interface derives from a connection, and keeps for its next requests.

Both interfaces give the app a dict for each request, environ or scope, and little of it changes
from one request of a client to the next.
"""

from typing import Any

from prefork.http.request import RequestHead


class ConnectionCache:
    """The cache of one connection; an idle connection drops it.

    ``keys`` holds what all its requests share. ``prepared`` is ready for requests with
    ``repeated_head``, a head that came twice in a row.
    """

    __slots__ = ("_previous_head", "is_multiplexed", "keys", "prepared", "repeated_head", "tls")

    def __init__(
        self, keys: dict[str, Any], tls: dict[str, Any] | None, is_multiplexed: bool
    ) -> None:
        self.keys = keys
        self.tls = tls
        """The value of the TLS extension of ASGI; None: the connection is not encrypted, or the
        facts are among the keys."""
        self.is_multiplexed = is_multiplexed
        """Several requests of the connection may be in flight at a time."""
        self.repeated_head: RequestHead | None = None
        self.prepared: dict[str, Any] = {}
        self._previous_head: RequestHead | None = None

    def remember(self, request: RequestHead, made: dict[str, Any]) -> None:
        """Keep a copy of what was made of a cached head, if the same head came twice in a row.

        To be called before it holds anything of one request alone.
        """
        if request is self._previous_head:
            self.repeated_head, self.prepared = request, made.copy()
        self._previous_head = request
