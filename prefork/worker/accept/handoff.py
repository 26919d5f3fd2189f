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

OVERLOAD = 0.7
"""Share of its time from which on whoever asks a worker is likely to wait; once it shares, half of
that is enough to go on."""

LATE_WEIGHT = 0.5
"""Of the last beat among those that tell how often the loop is late."""

WRITE_TURNS = 3
"""Turns of the loop in which an answer is usually written."""

MAX_CHECKED = 1024
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
        stats: WorkerStats,
        queue: SharedQueue,
        may_hand_off: Callable[[], bool],
    ) -> None:
        """``may``: there is somebody to share with, and it would find its way back."""
        self._loop = loop
        self._service = service
        self._stats = stats
        self._queue = queue
        self._may_hand_off = may_hand_off
        self._is_stopped = False
        self.is_active = False
        """It has no time left."""
        self._late_share = 0.0

    def update(self) -> None:
        """See whether there is too much to do."""
        is_active = self._is_overloaded() and not self._is_stopped and self._may_hand_off()
        if is_active != self.is_active:
            self.is_active = is_active
            self._service.call_after_each_response(
                self._hand_off_after_answer if is_active else None
            )
        if is_active:
            for each in list(islice(self._service.connections, MAX_CHECKED)):
                if (
                    isinstance(each, Connection)
                    and each.phase == IDLE
                    and self._has_unread_request(each)
                ):
                    self._hand_off_after_answer(each)

    def _is_overloaded(self) -> bool:
        """Nobody knows of async calls how long they keep the loop. But a beat is as likely to find
        it kept as any other event is."""
        stats = self._stats
        self._late_share += LATE_WEIGHT * ((stats.lateness >= LONG_CALL) - self._late_share)
        busy = max(stats.busy_share, self._late_share)
        enough = OVERLOAD / 2 if self.is_active else OVERLOAD
        return busy >= enough and busy * stats.answer_interval >= LONG_CALL

    def _has_unread_request(self, connection: Connection) -> bool:
        """Its client has asked for something while we were busy with others."""
        return unread_bytes(connection.transport.get_extra_info("socket").fileno()) > 0

    def _hand_off_after_answer(self, connection: Connection) -> None:
        """Nothing may be read here any more before somebody else can, and nothing is until the
        client has its answer. Who is the only one need not go: there is nobody to wait for."""
        if (
            self.is_active
            and connection.phase == IDLE
            and connection.peer.tls is None
            and (len(self._service.connections) > 1 or self._queue.length())
        ):
            connection.pause_reading()
            self._hand_off_when_written(connection, WRITE_TURNS)

    def _hand_off_when_written(self, connection: Connection, turns: int) -> None:
        if self.is_active and is_transferable(connection) and self._hand_off(connection):
            connection.phase = CLOSING
            connection.transport.abort()  # closes our descriptor, and not the connection
        elif turns and connection.transport.get_write_buffer_size():
            self._loop.call_soon(self._hand_off_when_written, connection, turns - 1)
        else:
            connection.resume_reading()

    def _hand_off(self, connection: Connection) -> bool:
        sock, peer = connection.transport.get_extra_info("socket"), connection.peer
        return self._queue.put(sock.fileno(), sock.family, Addresses(peer.client, peer.server))

    def stop(self) -> None:
        """The worker leaves, and keeps what it has; safe in a signal handler."""
        self._is_stopped, self.is_active = True, False
        self._service.call_after_each_response(None)


def is_transferable(connection: Connection) -> bool:
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
