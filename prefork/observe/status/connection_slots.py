"""Bound the number of connections of the status server, and choose which one ends for a new one.

Design
------
- **When all slots are taken, a new connection replaces an old one instead of waiting.** A health
  check that waits behind 400 half-sent request heads makes an orchestrator restart a healthy
  service. The oldest connection that has not finished its request ends first; if there is none, the
  oldest idle one; if there is none, the oldest one whose client does not read. A connection whose
  response is being made is never closed. nginx closes idle connections for new ones in the same
  way (worker_connections, "reusable connections"), and so does Apache.
"""

from collections.abc import Collection, Iterable

from prefork.http.served_protocols import ServedConnection


class ConnectionSlots:
    """The slots of a server with at most ``maximum`` connections."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._order: dict[ServedConnection, None] = {}
        """All connections in the order of their arrival; some may be closed already."""

    def add(self, connection: ServedConnection, connections: Collection[object]) -> None:
        """Add a connection that was accepted. ``connections`` are all open ones."""
        if len(self._order) >= 2 * self._maximum:
            self._order = {each: None for each in self._order if each in connections}
        self._order[connection] = None

    def make_room(self, connections: Collection[object]) -> bool:
        """Make room for one more connection, if need be by closing one; return whether there is."""
        if len(connections) < self._maximum:
            return True
        closing = find_oldest_closable(each for each in self._order if each in connections)
        if closing is None:
            return False
        del self._order[closing]
        closing.abort()
        return True


def find_oldest_closable(
    in_order: Iterable[ServedConnection],
) -> ServedConnection | None:
    """Return the connection to close; None: the responses of all are being made."""
    candidates = list(in_order)
    for each in candidates:
        if each.awaits_request:
            return each
    for each in candidates:
        if each.is_idle:
            return each
    for each in candidates:
        if each.awaits_reader:
            return each
    return None
