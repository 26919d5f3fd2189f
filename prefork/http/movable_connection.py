"""The methods that a protocol offers so that another worker can serve the client of an open
connection.

A worker with too much load moves its clients: with their next response they are told to connect
again (worker/accept/rebalance.py), or a sibling continues with their connections between two
requests (worker/accept/handoff.py). A protocol that cannot do that offers None
(``OpenConnection.movable``), and its connections stay where they are. A WebSocket stays, because
its state is in the app of this worker.
"""

import asyncio
from typing import Protocol

from prefork.http.peer import Peer


class MovableConnection(Protocol):
    """A connection on which requests follow each other, so that there is a moment between two."""

    transport: asyncio.Transport
    peer: Peer
    close_requested: bool
    """The next response tells the client that it is the last one."""

    @property
    def is_idle(self) -> bool:
        """Return whether the connection waits for the next request of its client."""

    def release_if_idle(self) -> bool:
        """Return whether the connection is idle and holds no bytes of a request."""

    def pause_reading(self) -> None:
        """Stop reading from the client. Pauses add up."""

    def resume_reading(self) -> None:
        """Undo one pause."""

    def give_away(self) -> None:
        """Close this process's descriptor: another process has a copy of it, and goes on."""

    def skip_first_deadline(self) -> None:
        """Make a new connection an idle one: its client had a request answered elsewhere."""
