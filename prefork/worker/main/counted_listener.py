"""Fair accept for ``main(listener)``: what the app accepts is counted until the app closes it.

prefork cannot see what the app does with a connection, so each open connection counts as a request.
"""

import socket
import threading
from collections.abc import Callable
from typing import Any

from prefork.config import Config
from prefork.http.load import CONNECTION, REQUEST, Load
from prefork.unix.accept_queue import accept_queue_length
from prefork.unix.scoreboard import UNCOUNTED, Row
from prefork.wire.scoreboard import FIELD_INDEX, REQUEST_FIELDS, uncounted_bits
from prefork.worker.accept.accept_policy import make_accept_policy

RETRY_DELAY = 0.001
"""Seconds for which a connection is left to a sibling before this worker looks again."""

_ACCEPTED = FIELD_INDEX["accepted"]
_CONNECTIONS = FIELD_INDEX["connections"]
_IN_FLIGHT = FIELD_INDEX["in_flight"]


class CountedListeners:
    """The load of one worker with a ``main``, over all of its listeners and threads.

    Publishes it in the worker's row, and asks the accept policy with it.
    """

    def __init__(self, row: Row, config: Config) -> None:
        self._load = Load(row.loads, row.number, row.own_words)
        self._policy = make_accept_policy(row, self._load, config, 0)
        self._counts = row.counts
        self._counts[UNCOUNTED] = uncounted_bits(REQUEST_FIELDS)
        self._lock = threading.Lock()
        self._accepting: set[int] = set()
        """The listeners (by id) from which the app accepts."""
        self._waited_seconds = 0.0
        """For how long the connection at the head of the queue was left to a sibling."""

    @property
    def is_busy(self) -> bool:
        """Return whether a connection is open."""
        return self._load.word >= CONNECTION

    def add_listener(self, listener: socket.socket) -> None:
        """Note that the app accepts from this listener: the worker can take connections."""
        if id(listener) not in self._accepting:
            self._accepting.add(id(listener))
            self._load.mark_available()

    def remove_listener(self, listener: socket.socket) -> None:
        """Note that the app has closed this listener. Without one the worker takes no
        connections."""
        self._accepting.discard(id(listener))
        if not self._accepting:
            self._load.mark_unavailable()

    def stop_accepting(self) -> None:
        """Note that the worker takes no more connections, from any listener."""
        self._load.mark_unavailable()

    def reset_wait(self) -> None:
        """Begin the wait anew: a sibling took the connection that was left to it."""
        self._waited_seconds = 0.0

    def may_accept(self, listener: socket.socket) -> bool:
        """Return whether this worker may take the connection that waits. If not, ask again after
        RETRY_DELAY."""
        policy, has_waited = self._policy, self._waited_seconds > 0
        policy.refresh(0.0)
        if policy.may_accept(False, has_waited, lambda: accept_queue_length(listener) or 1) or (
            self._waited_seconds >= policy.guard and policy.may_accept_overdue()
        ):
            self._waited_seconds = 0.0
            return True
        self._waited_seconds += RETRY_DELAY
        return False

    def count_accepted(
        self, listener: socket.socket, fd: int, address: Any
    ) -> tuple["CountedConnection", Any]:
        """Count a connection that accept(2) returned, and make the socket that the app gets."""
        connection = CountedConnection(listener.family, listener.type, listener.proto, fileno=fd)
        connection.on_close = self._connection_closed
        with self._lock:
            self._counts[_ACCEPTED] += 1
            self._policy.record_accept()
            self._add(+1)
        return connection, address

    def reset_lock(self) -> None:
        """Make a new lock, in a process that the worker forked: another thread may have held the
        old one."""
        self._lock = threading.Lock()

    def _connection_closed(self) -> None:
        """Count a connection that was closed. Any thread may close one."""
        with self._lock:
            self._add(-1)

    def _add(self, by: int) -> None:
        """Add ``by`` open connections, each of which is a request as well."""
        self._load.add(by * (REQUEST + CONNECTION))
        self._counts[_CONNECTIONS] = self._counts[_IN_FLIGHT] = self._load.requests_in_flight


class CountedConnection(socket.socket):
    """A connection that reports when it is closed, or handed over by ``detach``."""

    on_close: Callable[[], None] | None = None
    """Called once at the end."""

    def detach(self) -> int:
        """As socket.detach; counts as the end of the connection."""
        self._report_close()
        return super().detach()

    def _real_close(self, *args: Any) -> None:
        """Close the socket (called by socket.close), and report it."""
        self._report_close()
        super()._real_close(*args)  # type: ignore[misc]

    def __del__(self) -> None:
        self._report_close()
        super().__del__()  # type: ignore[misc]

    def _report_close(self) -> None:
        """Call ``on_close``, unless it was called before."""
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close()
