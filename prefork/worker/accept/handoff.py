"""Who has no time left shares its clients: they go on wherever there is time.

A connection that stays open belongs to the worker that accepted it, and its next request waits for
that worker, behind a long call perhaps, while a sibling is free. So a worker that is busy all of
the time, with requests that keep it for long each, puts a connection into the queue of all workers
when it has answered (unix/shared_queue.py). Whoever is next to take one, by the same rule as for
new ones (accept_policy.py), goes on with it, and the client notices nothing.

To move a connection costs some 0.1 ms of CPU, so it must be little beside what a request costs.
TLS has its keys in this process, and stays. So does who is served by threads: their loop has read
the next request before it could be anybody else's.
"""

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any

from prefork.http.channel import CLOSING, IDLE, NEW
from prefork.http.connection import Connection
from prefork.http.peer import Addresses
from prefork.http.server_state import ServerState
from prefork.unix.shared_queue import SharedQueue, unread_bytes
from prefork.worker.accept.accept_policy import LONG_CALL
from prefork.worker.monitor.stats import WorkerStats

OVERLOADED = 0.7
"""Share of its time from which on whoever asks a worker is likely to wait; once it shares, half of
that is enough to go on."""

WEIGHT = 0.5
"""Of the last beat among those that tell how often the loop is late."""

TRIES = 3
"""Turns of the loop in which an answer is usually written."""

MOST = 1024
"""Connections that are looked at in a tick: the look costs 1 µs."""


class HandoffQueue:
    """The shared queue as a door (endpoints.py): who comes this way has been let in before."""

    def __init__(self, queue: SharedQueue) -> None:
        self.queue = queue
        self.socket = queue.socket

    def accept(self) -> tuple[int, Any]:
        """Like a Door."""
        shared = self.queue.get()
        return shared.fd, shared


class ConnectionHandoff:
    """Of one worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        service: ServerState,
        figures: WorkerStats,
        queue: SharedQueue,
        may: Callable[[], bool],
    ) -> None:
        """``may``: there is somebody to share with, and it would find its way back."""
        self._loop = loop
        self._service = service
        self._figures = figures
        self._queue = queue
        self._may = may
        self._stopped = False
        self.shares = False
        """It has no time left."""
        self._often_late = 0.0

    def tick(self) -> None:
        """See whether there is too much to do."""
        shares = self._has_no_time() and not self._stopped and self._may()
        if shares != self.shares:
            self.shares = shares
            self._service.call_after_each_response(self._answered if shares else None)
        if shares:
            for each in list(islice(self._service.connections, MOST)):
                if isinstance(each, Connection) and each.phase == IDLE and self._waits(each):
                    self._answered(each)

    def _has_no_time(self) -> bool:
        """Nobody knows of async calls how long they keep the loop. But a beat is as likely to find
        it kept as any other event is."""
        figures = self._figures
        self._often_late += WEIGHT * ((figures.late >= LONG_CALL) - self._often_late)
        busy = max(figures.busy, self._often_late)
        enough = OVERLOADED / 2 if self.shares else OVERLOADED
        return busy >= enough and busy * figures.interval >= LONG_CALL

    def _waits(self, connection: Connection) -> bool:
        """Its client has asked for something while we were busy with others."""
        return unread_bytes(connection.transport.get_extra_info("socket").fileno()) > 0

    def _answered(self, connection: Connection) -> None:
        """Nothing may be read here any more before somebody else can, and nothing is until the
        client has its answer. Who is the only one need not go: there is nobody to wait for."""
        if (
            self.shares
            and connection.phase == IDLE
            and connection.peer.tls is None
            and (len(self._service.connections) > 1 or self._queue.length())
        ):
            connection.pause_reading()
            self._give_when_written(connection, TRIES)

    def _give_when_written(self, connection: Connection, tries: int) -> None:
        if self.shares and is_free(connection) and self._give(connection):
            connection.phase = CLOSING
            connection.transport.abort()  # closes our descriptor, and not the connection
        elif tries and connection.transport.get_write_buffer_size():
            self._loop.call_soon(self._give_when_written, connection, tries - 1)
        else:
            connection.resume_reading()

    def _give(self, connection: Connection) -> bool:
        sock, peer = connection.transport.get_extra_info("socket"), connection.peer
        return self._queue.put(sock.fileno(), sock.family, Addresses(peer.client, peer.server))

    def stop(self) -> None:
        """The worker leaves, and keeps what it has; safe in a signal handler."""
        self._stopped, self.shares = True, False
        self._service.call_after_each_response(None)


def is_free(connection: Connection) -> bool:
    """Whether another worker could go on with it: it is between two requests, and this process
    holds nothing that was sent to its client or by it."""
    return (
        connection.release_if_idle()
        and not connection.close_requested
        and not connection.transport.is_closing()
        and not connection.transport.get_write_buffer_size()
    )


def resume_idle_connection(connection: Connection) -> None:
    """It was a sibling's, and its client says nothing just now."""
    if connection.phase == NEW:
        service = connection.server
        service.pending_connections.discard(connection)
        connection.phase, connection.deadline = IDLE, service.idle_deadline
