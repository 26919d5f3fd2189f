"""Fair accept for ``main(listener)``: what the app takes is counted until the app closes it.

Nobody knows what the app does with a connection, so each that is open counts as a request.
"""

import socket
import threading
from collections.abc import Callable
from typing import Any

from prefork.config import Config
from prefork.http.load import CONNECTION, REQUEST, Load
from prefork.unix.accept_queue import accept_queue_length
from prefork.unix.scoreboard import Row
from prefork.wire.scoreboard import FIELD_INDEX
from prefork.worker.accept.accept_policy import make_accept_policy

RETRY_DELAY = 0.001
"""Seconds for which a connection is left to a sibling, before we look again."""

_ACCEPTED = FIELD_INDEX["accepted"]
_CONNECTIONS = FIELD_INDEX["connections"]
_IN_FLIGHT = FIELD_INDEX["in_flight"]


class CountedListeners:
    """Of one worker, for all of its listeners and threads."""

    def __init__(self, row: Row, config: Config) -> None:
        self._load = Load(row.loads, row.number)
        self._policy = make_accept_policy(row, self._load, config, 0)
        self._counts = row.counts
        self._lock = threading.Lock()
        self._accepting: set[int] = set()
        """Listeners by which the app asks for connections."""
        self._waited_seconds = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether a connection is open."""
        return self._load.word >= CONNECTION

    def start_accepting(self, listener: socket.socket) -> None:
        """The app asks for a connection, there."""
        if id(listener) not in self._accepting:
            self._accepting.add(id(listener))
            self._load.mark_available()

    def end_accepting(self, listener: socket.socket) -> None:
        """It asks for no more there."""
        self._accepting.discard(id(listener))
        if not self._accepting:
            self._load.mark_unavailable()

    def stop_accepting(self) -> None:
        """It gets no more."""
        self._load.mark_unavailable()

    def reset_wait(self) -> None:
        """What we left to a sibling was taken; the next one has not waited yet."""
        self._waited_seconds = 0.0

    def may_accept(self, listener: socket.socket) -> bool:
        """Whether a connection that waits there is ours; to be asked again after a PAUSE if not."""
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
        """What accept(2) said, as the app gets it."""
        connection = CountedConnection(listener.family, listener.type, listener.proto, fileno=fd)
        connection.on_close = self._connection_closed
        with self._lock:
            self._counts[_ACCEPTED] += 1
            self._policy.record_accept()
            self._add(+1)
        return connection, address

    def reset_lock(self) -> None:
        """In a process that the worker forked: another thread may have had the lock."""
        self._lock = threading.Lock()

    def _connection_closed(self) -> None:
        with self._lock:
            self._add(-1)

    def _add(self, by: int) -> None:
        self._load.add(by * (REQUEST + CONNECTION))
        self._counts[_CONNECTIONS] = self._counts[_IN_FLIGHT] = self._load.requests_in_flight


class CountedConnection(socket.socket):
    """A connection that says when it is closed, or handed to somebody else by ``detach``."""

    on_close: Callable[[], None] | None = None

    def detach(self) -> int:
        """As always."""
        self._report_close()
        return super().detach()

    def _real_close(self, *args: Any) -> None:
        self._report_close()
        super()._real_close(*args)  # type: ignore[misc]

    def __del__(self) -> None:
        self._report_close()
        super().__del__()  # type: ignore[misc]

    def _report_close(self) -> None:
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close()
