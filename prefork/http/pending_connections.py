"""Connections that were just accepted, and of which nothing came yet.

For a moment each counts as a request, since that is what it comes for: else a worker would take
several before it sees the first of their requests, which may then block it for long.
"""

import asyncio
from collections.abc import Callable

from prefork.http.load import Load

PENDING_TIME = 0.5
"""Seconds, or up to twice as many, for which a new connection counts as a request: long enough for
a burst of them to have been shared out."""


class PendingConnections:
    """Of one worker. Who accepts a connection counts it; who comes, or waits for too long, does not
    count any more. ``on_less`` is called when some have waited for too long."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, load: Load, on_expired: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._load = load
        self._on_expired = on_expired
        self._new: set[object] = set()
        self._older: set[object] = set()
        self._has_timer = False
        """There is a timer."""

    def add(self, connection: object) -> None:
        """There is a new one, which is counted already."""
        self._new.add(connection)
        if not self._has_timer:
            self._has_timer = True
            self._loop.call_later(PENDING_TIME, self._expire)

    def discard(self, connection: object) -> None:
        """Its first bytes did, or it is gone."""
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
