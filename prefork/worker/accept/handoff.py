"""Hand open connections of an overloaded worker off to workers that have time.

A connection that stays open belongs to the worker that accepted it. Its next request may wait there
behind a long call while a sibling is idle. So a worker that is busy all of the time, with long
requests, puts a connection into the queue of all workers after it has answered
(unix/shared_queue.py). The next worker that may accept a connection, by the rule for new ones
(accept_policy.py), continues with it. The client notices nothing.

Design
------
- **One queue for all workers gives the latency of one queue.** With 16 clients that keep their
  connections, and one call in ten of 100 ms, p99 is 511 ms by arithmetic where a single queue has
  313 ms. With handoff it is 316 to 380 ms. The descriptor travels with SCM_RIGHTS, and the kernel
  keeps it until a worker is free, so no client sees a closed connection.
- **Only where a request keeps its worker for 2 ms:** moving a connection costs 0.1 ms of CPU, which
  must be little beside the request.
- **A client that is silent when its connection is taken does not count as a request,** else a
  worker would wait for it while others ask.
- **How busy an async worker is, is the share of its heartbeats that came late:** they come as often
  as requests find the loop kept by a call. Only the handoff uses that figure; CPU and lag are
  better for scaling.
- **TLS connections stay,** since their keys are in this process. So do connections of an app in
  threads: their loop has read the next request before a sibling could.
"""

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any

from prefork.http.movable_connection import MovableConnection
from prefork.http.peer import Addresses
from prefork.http.server_state import ServerState
from prefork.unix.shared_queue import SharedQueue, unread_bytes
from prefork.worker.accept.accept_policy import LONG_CALL
from prefork.worker.monitor.stats import WorkerStats

OVERLOAD = 0.7
"""Share of a worker's time from which on a request is likely to wait. Once the worker hands off,
half of that is enough to go on."""

LATE_WEIGHT = 0.5
"""Weight of the last heartbeat in the moving average of late heartbeats."""

WRITE_TURNS = 3
"""Turns of the loop in which an answer is usually written."""

MAX_CHECKED = 1024
"""Connections that are looked at in one heartbeat: each costs 1 µs."""


class HandoffQueue:
    """The handoff queue as an endpoint. Its connections have passed their handshakes before."""

    def __init__(self, queue: SharedQueue) -> None:
        self.queue = queue
        self.socket = queue.socket

    def accept(self) -> tuple[int, Any]:
        """Take a connection from the queue and return its descriptor and its SharedConnection.
        Raises OSError and InvalidMessageError."""
        shared = self.queue.get()
        return shared.fd, shared


class ConnectionHandoff:
    """Hands connections of one worker off while it is overloaded."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        server: ServerState,
        stats: WorkerStats,
        queue: SharedQueue,
        may_hand_off: Callable[[], bool],
    ) -> None:
        """Prepare the handoff of one worker. ``may_hand_off``: returns whether a sibling takes
        connections and this worker has room to take some back."""
        self._loop = loop
        self._server = server
        self._stats = stats
        self._queue = queue
        self._may_hand_off = may_hand_off
        self._is_stopped = False
        self.is_active = False
        """True if the worker is overloaded and hands connections off."""
        self._late_share = 0.0

    def update(self) -> None:
        """Decide whether the worker is overloaded, and if so hand off idle connections with an
        unread request. Called at each heartbeat."""
        is_active = self._is_overloaded() and not self._is_stopped and self._may_hand_off()
        if is_active != self.is_active:
            self.is_active = is_active
            self._server.call_after_each_response(
                self._hand_off_after_answer if is_active else None
            )
        if is_active:
            for each in list(islice(self._server.connections, MAX_CHECKED)):
                connection = each.movable
                if (
                    connection is not None
                    and connection.is_idle
                    and self._has_unread_request(connection)
                ):
                    self._hand_off_after_answer(connection)

    def _is_overloaded(self) -> bool:
        """Return whether requests are likely to wait for this worker. It is not known how long an
        async call keeps the loop, but a heartbeat is as likely to find the loop kept as any other
        event is."""
        stats = self._stats
        self._late_share += LATE_WEIGHT * ((stats.lateness >= LONG_CALL) - self._late_share)
        busy = max(stats.busy_share, self._late_share)
        enough = OVERLOAD / 2 if self.is_active else OVERLOAD
        return busy >= enough and busy * stats.answer_interval >= LONG_CALL

    def _has_unread_request(self, connection: MovableConnection) -> bool:
        """Return whether the client has sent something while the worker was busy with others."""
        return unread_bytes(connection.transport.get_extra_info("socket").fileno()) > 0

    def _hand_off_after_answer(self, connection: MovableConnection) -> None:
        """Hand a connection off once its response is written. It is not read from here on, since a
        sibling may read next. The only connection of a worker stays: its client waits for no other.
        """
        if (
            self.is_active
            and connection.is_idle
            and connection.peer.tls is None
            and (len(self._server.connections) > 1 or self._queue.length())
        ):
            connection.pause_reading()
            self._hand_off_when_written(connection, WRITE_TURNS)

    def _hand_off_when_written(self, connection: MovableConnection, turns: int) -> None:
        if self.is_active and is_transferable(connection) and self._hand_off(connection):
            connection.give_away()
        elif turns and connection.transport.get_write_buffer_size():
            self._loop.call_soon(self._hand_off_when_written, connection, turns - 1)
        else:
            connection.resume_reading()

    def _hand_off(self, connection: MovableConnection) -> bool:
        sock, peer = connection.transport.get_extra_info("socket"), connection.peer
        return self._queue.put(sock.fileno(), sock.family, Addresses(peer.client, peer.server))

    def stop(self) -> None:
        """Stop handing off for good, since the worker drains. Safe in a signal handler."""
        self._is_stopped, self.is_active = True, False
        self._server.call_after_each_response(None)


def is_transferable(connection: MovableConnection) -> bool:
    """Return whether another worker could continue with a connection: it is between two requests,
    and this process holds no byte that was sent to its client or by it."""
    return (
        connection.release_if_idle()
        and not connection.close_requested
        and not connection.transport.is_closing()
        and not connection.transport.get_write_buffer_size()
    )
