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
        self._gate = make_accept_policy(row, self._load, config, 0)
        self._counts = row.counts
        self._lock = threading.Lock()
        self._open: set[int] = set()
        """Listeners by which the app asks for connections."""
        self._waited = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether a connection is open."""
        return self._load.word >= CONNECTION

    def open(self, listening: socket.socket) -> None:
        """The app asks for a connection, there."""
        if id(listening) not in self._open:
            self._open.add(id(listening))
            self._load.mark_available()

    def shut(self, listening: socket.socket) -> None:
        """It asks for no more there."""
        self._open.discard(id(listening))
        if not self._open:
            self._load.mark_unavailable()

    def leave(self) -> None:
        """It gets no more."""
        self._load.mark_unavailable()

    def nobody_waits(self) -> None:
        """What we left to a sibling was taken; the next one has not waited yet."""
        self._waited = 0.0

    def admits(self, listening: socket.socket) -> bool:
        """Whether a connection that waits there is ours; to be asked again after a PAUSE if not."""
        gate, doubts = self._gate, self._waited > 0
        gate.refresh(0.0)
        if gate.may_accept(False, doubts, lambda: accept_queue_length(listening) or 1) or (
            self._waited >= gate.guard and gate.may_accept_overdue()
        ):
            self._waited = 0.0
            return True
        self._waited += RETRY_DELAY
        return False

    def taken(
        self, listening: socket.socket, fd: int, address: Any
    ) -> tuple["CountedConnection", Any]:
        """What accept(2) said, as the app gets it."""
        counted = CountedConnection(listening.family, listening.type, listening.proto, fileno=fd)
        counted.on_end = self._ended
        with self._lock:
            self._counts[_ACCEPTED] += 1
            self._gate.record_accept()
            self._change(+1)
        return counted, address

    def forget(self) -> None:
        """In a process that the worker forked: another thread may have had the lock."""
        self._lock = threading.Lock()

    def _ended(self) -> None:
        with self._lock:
            self._change(-1)

    def _change(self, by: int) -> None:
        self._load.add(by * (REQUEST + CONNECTION))
        self._counts[_CONNECTIONS] = self._counts[_IN_FLIGHT] = self._load.requests_in_flight


class CountedConnection(socket.socket):
    """A connection that says when it is closed, or handed to somebody else by ``detach``."""

    on_end: Callable[[], None] | None = None

    def detach(self) -> int:
        """As always."""
        self._end()
        return super().detach()

    def _real_close(self, *args: Any) -> None:
        self._end()
        super()._real_close(*args)  # type: ignore[misc]

    def __del__(self) -> None:
        self._end()
        super().__del__()  # type: ignore[misc]

    def _end(self) -> None:
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end()
