"""Track connections that were accepted and have not sent a byte yet.

Each counts as a request in the worker's load for a moment (PENDING_TIME), because it will most
likely send one. Otherwise a worker would accept several connections before it sees the first of
their requests, and that request may block the worker for long.
"""

import asyncio
from collections.abc import Callable

from prefork.http.load import Load

PENDING_TIME = 0.5
"""Seconds, or up to twice as many, for which a new connection counts as a request. Within that time
a burst of connections is distributed over the workers."""


class PendingConnections:
    """The pending connections of one worker.

    The code that accepts a connection adds one expected request to the load. It is taken back here
    when the first bytes arrive, when the connection is closed, or when it stayed silent for too
    long. ``on_expired`` is called after silent connections were taken off the load.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, load: Load, on_expired: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._load = load
        self._on_expired = on_expired
        self._new: set[object] = set()
        self._older: set[object] = set()
        self._has_timer = False
        """A timer is running."""

    def add(self, connection: object) -> None:
        """Track a connection whose expected request is in the load already."""
        self._new.add(connection)
        if not self._has_timer:
            self._has_timer = True
            self._loop.call_later(PENDING_TIME, self._expire)

    def discard(self, connection: object) -> None:
        """Take the expected request of a connection off the load, because its first bytes arrived
        or it was closed. Does nothing for a connection that is not pending."""
        if connection in self._new or connection in self._older:
            self._new.discard(connection)
            self._older.discard(connection)
            self._load.add_expected_requests(-1)

    def _expire(self) -> None:
        self._load.add_expected_requests(-len(self._older))
        self._new, self._older = set(), self._new
        self._has_timer = len(self._older) > 0
        if self._has_timer:
            self._loop.call_later(PENDING_TIME, self._expire)
        self._on_expired()
