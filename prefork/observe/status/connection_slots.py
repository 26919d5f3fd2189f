"""The places of the status server: a bounded number of connections, and which one ends for another.

A health check must be answered while clients hold connections open that say nothing. When all
places are taken a newcomer therefore gets the place of the oldest connection that has not finished
its request; without one, of the oldest that idles; without that, of the oldest whose client does
not read. Connections whose answer is being made keep theirs. Apache and nginx drop idle
connections for newcomers in the same way (worker_connections of nginx, "reusable connections").
"""

from collections.abc import Collection, Iterable

from prefork.http.channel import IDLE, NEW, READING_BODY, READING_HEAD, SENDING
from prefork.http.connection import Connection

_CLOSE_ORDER = ((NEW, READING_HEAD, READING_BODY), (IDLE,), (SENDING,))
"""Phases of a connection, the most dispensable first."""


class ConnectionSlots:
    """``most``: how many connections there are at most."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._order: dict[Connection, None] = {}
        """All connections, in the order in which they came; some may be gone."""

    def add(self, connection: Connection, connections: Collection[object]) -> None:
        """Note a connection that has just been accepted. ``connections``: all that are open."""
        if len(self._order) >= 2 * self._maximum:
            self._order = {each: None for each in self._order if each in connections}
        self._order[connection] = None

    def make_room(self, connections: Collection[object]) -> bool:
        """Whether there is a place for one more, which may have cost another one its place."""
        if len(connections) < self._maximum:
            return True
        closing = find_oldest_closable(each for each in self._order if each in connections)
        if closing is None:
            return False
        del self._order[closing]
        closing.abort()
        return True


def find_oldest_closable(in_order: Iterable[Connection]) -> Connection | None:
    """Choose the connection that ends; None: the answers of all are being made."""
    candidates = list(in_order)
    for phases in _CLOSE_ORDER:
        for each in candidates:
            if each.phase in phases:
                return each
    return None
