"""The places of the status server: a bounded number of connections, and which one ends for another.

A health check must be answered while clients hold connections open that say nothing. When all
places are taken a newcomer therefore gets the place of the oldest connection that has not finished
its request; without one, of the oldest that idles; without that, of the oldest whose client does
not read. Connections whose answer is being made keep theirs. Apache and nginx drop idle
connections for newcomers in the same way (worker_connections of nginx, "reusable connections").
"""

from collections.abc import Collection, Iterable

from prefork.http.base_connection import IDLE, NEW, READING_BODY, READING_HEAD, SENDING
from prefork.http.connection import Connection

_ENDS_FIRST = ((NEW, READING_HEAD, READING_BODY), (IDLE,), (SENDING,))
"""Phases of a connection, the most dispensable first."""


class Places:
    """``most``: how many connections there are at most."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._order: dict[Connection, None] = {}
        """All connections, in the order in which they came; some may be gone."""

    def enter(self, newcomer: Connection, connections: Collection[object]) -> None:
        """Note a connection that has just been accepted. ``connections``: all that are open."""
        if len(self._order) >= 2 * self._most:
            self._order = {each: None for each in self._order if each in connections}
        self._order[newcomer] = None

    def make_room(self, connections: Collection[object]) -> bool:
        """Whether there is a place for one more, which may have cost another one its place."""
        if len(connections) < self._most:
            return True
        ending = oldest_dispensable(each for each in self._order if each in connections)
        if ending is None:
            return False
        del self._order[ending]
        ending.abort()
        return True


def oldest_dispensable(in_order: Iterable[Connection]) -> Connection | None:
    """Choose the connection that ends; None: the answers of all are being made."""
    candidates = list(in_order)
    for phases in _ENDS_FIRST:
        for each in candidates:
            if each.phase in phases:
                return each
    return None
