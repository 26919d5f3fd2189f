"""Accept connections from the shared listeners, one at a time, when the accept policy allows it.

A worker accepts one connection, publishes its new load, and looks at the queues again when it has
answered a request (accept_policy.py). Connections to a listener without TLS and PROXY headers go to
the event loop at once. All others go through the handshaker first (endpoints.py).

Design
------
- **Not ``loop.create_server``.** It accepts a whole burst at once, so that one worker holds
  connections that its idle siblings could serve, and it shortens the listener's backlog.
- **The guard counts pauses in which the worker looked at the queues,** not the duration of a call
  that blocked the worker meanwhile: a sibling may have served many connections in that time.
- **The last places of a worker are for the connections in the handoff queue.** A worker that hands
  connections off frees places. Without a reserve new connections filled all workers to
  ``--limit-connections``, and a client in the queue waited until another one left: once in three
  runs of the test suite. A worker hands off only while it has places for the whole queue
  (http_worker.py), so there is always one that can take them back.
- **A worker that leaves takes connections from the handoff queue when no sibling would** (the field
  ``shares`` of the scoreboard rows tells). It takes one after the other, so that all workers that
  end together divide what is left. Each connection is answered once and closed. During a roll the
  siblings take them. When workers serve and none of them takes from the queue any more (a
  ``main(listener)``, a program), the master closes what is left there.
"""

import asyncio
import errno
import logging
from collections.abc import Callable
from socket import socket as Socket  # noqa: N812 - as it was before an app patched the module
from typing import Any

from prefork.http.exchange import OpenConnection
from prefork.http.load import CONNECTION
from prefork.http.server_state import ServerState, do_nothing
from prefork.unix.shared_queue import InvalidMessageError, unread_bytes
from prefork.worker.accept.accept_events import AcceptEvents
from prefork.worker.accept.accept_policy import AcceptPolicy
from prefork.worker.accept.connector import Connector
from prefork.worker.accept.endpoints import Endpoint, Handshaker
from prefork.worker.accept.handoff import HandoffQueue
from prefork.worker.app_api import worker

EXHAUSTION_PAUSE = 0.1
"""Seconds without accepting after the process ran out of descriptors or memory."""

SHORTEST_PAUSE = 0.001
LONGEST_PAUSE = 0.004
"""Seconds until the worker looks again at a connection that it left to a sibling: at first, and at
most."""

HEIRS_FIRST = 1.0
"""Seconds for which a worker that will be replaced leaves a connection to its heirs, if it has had
WebSockets (``AcceptPolicy.defers_to_heirs``)."""

TURNS_PER_ANSWER = 4
"""Turns of the loop in which a connection is made, and its request is read and answered."""

TIMER_LATE = 0.005
"""Seconds of delay from which on a timer was held up by a call that blocked the loop."""

LONGEST_HANDOFF_QUEUE = 512
"""Connections that the handoff queue never holds: its buffer is full with about three hundred."""

EXHAUSTION_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of accept(2) that mean a shortage in this process, and no fault of the connection."""


class Acceptor:
    """Accepts from all listeners of one worker, from ``open`` to ``close``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        events: AcceptEvents,
        connector: Connector,
        log: logging.Logger,
        policy: AcceptPolicy,
        server: ServerState,
        max_connections: float,
        on_accepted: Callable[[int], None],
    ) -> None:
        """Make the acceptor of one worker.

        ``connector``: connects clients without a handshake. ``max_connections``: connections
        that the worker may have open at once. ``on_accepted``: called with the descriptor of each
        new connection.
        """
        self._loop = loop
        self._events = events
        self._server = server
        self._max_connections = max_connections
        self._answered_before = 0
        """Requests that the worker had answered at the last decision."""
        self._policy = policy
        self._load = policy.load
        self._on_accepted = on_accepted
        self._is_full = False
        self._connector = connector
        self._handshaker = Handshaker(loop, connector.protocols, log)
        self._log = log
        self._on_waiting: Callable[[], None] = do_nothing
        self._is_stopped = False
        self._is_closed = False
        self._has_logged_exhaustion = self._has_logged_queue_error = False
        self._pending: dict[asyncio.Future[Any], Endpoint] = {}
        """Handshakes in progress, and their endpoints."""
        self._waited = 0.0
        """Seconds for which this worker has left a waiting connection to its siblings."""
        self._has_retry_timer = self._awaits_lower_load = False
        """True if a timer for the next look runs; true if the service calls back when the load
        falls."""

    def open(self, on_waiting: Callable[[], None]) -> None:
        """Begin to accept connections. ``on_waiting`` is called at each wakeup, before the worker
        looks at the queues."""
        self._on_waiting = on_waiting
        self._events.open(self._on_wakeup)
        self._load.mark_available()

    def _on_wakeup(self) -> None:
        """Look at the queues; the event loop calls this when a new connection waits."""
        self._events.read_wakeups()
        self._on_waiting()
        if not self._is_closed and self._events.has_waiting():
            self._decide()

    def check_queues(self) -> None:
        """Accept a connection if one waits. Called at each heartbeat, whether a wakeup came or not.

        The kernel wakes a worker once for each connection. If the worker found nothing after that
        wakeup, for a reason that is not known, the connection would wait until the next one comes.
        """
        self.resume_if_room()
        self._decide_if_waiting()

    def resume_if_room(self) -> None:
        """Accept again if the worker was full and has room now; called when a connection ends."""
        if (
            self._is_full
            and not self._is_stopped
            and not self._is_closed
            and self._free_places() > 0
        ):
            self._is_full = False
            self._load.mark_available()
            self._events.set_wakeup(True)
            self._server.call_soon(self._decide_if_waiting)

    def stop(self) -> None:
        """Stop accepting. Safe in a signal handler; ``close`` follows."""
        self._is_stopped = True
        self._load.mark_unavailable()

    def close(self) -> None:
        """Close this process's copies of the listeners. Their queues live on in the master's
        copies."""
        if not self._is_closed:
            self._is_closed = True
            self._load.mark_unavailable()
            self._events.close()

    async def wait_for_handshakes(self, timeout: float) -> None:
        """Wait until each accepted connection has its protocol object, since only then the server
        state knows of it.

        A handshake that is not done within ``timeout`` seconds is given up.
        """
        pending = (*self._pending, *self._connector.pending)
        if pending:
            timer = self._loop.call_later(timeout, self._cancel_handshakes)
            # Not asyncio.wait, which asks for the running loop: WSGI hides it (wsgi/wsgi_app.py).
            await asyncio.gather(*pending, return_exceptions=True)
            timer.cancel()

    def _cancel_handshakes(self) -> None:
        for handshake in self._pending:
            handshake.cancel()

    def accept_all_waiting(self) -> None:
        """Accept all waiting connections. When the master is dead, closing the last copy of a
        listener would reset them."""
        for endpoint in self._events.endpoints:
            while self._accept_from(endpoint):
                pass

    async def empty_handoff_queue(self) -> None:
        """Take the connections that siblings put into the handoff queue, one after the other: other
        workers that leave at the same time do the same."""
        while self._accept_from(self._events.handoff):
            for _ in range(TURNS_PER_ANSWER):
                await asyncio.sleep(0)

    def _decide(self) -> None:
        """Decide whether to accept a connection that waits, or that waited a moment ago."""
        if self._is_stopped or self._is_full:
            return
        free = self._free_places()
        if free <= 0:
            self._pause_at_limit()
        elif self._policy.is_unrestricted:
            self._events.set_wakeup(True)
            if self._accept_from(self._pick_endpoint(free)) or not self._has_retry_timer:
                # Look again also when a sibling was faster: another listener may have a connection.
                self._loop.call_soon(self._decide_if_waiting)
        else:
            accepted = self._should_accept() and self._accept_from(self._pick_endpoint(free))
            if accepted:
                self._policy.record_accept()
            # The wakeup is off until this worker has served the connection: it looks at the queues
            # then anyway.
            self._events.set_wakeup(not accepted)
            self._schedule_retry()

    def _free_places(self) -> float:
        """Return how many more connections this worker may have open."""
        pending = len(self._pending) + len(self._connector.pending)
        return self._max_connections - len(self._server.connections) - pending

    def _pick_endpoint(self, free: float) -> Endpoint | HandoffQueue | None:
        """Return an endpoint where a connection waits, or waited a moment ago; None if there is
        none. A new connection never takes one of the ``free`` places that the handoff queue needs.
        """
        if free < LONGEST_HANDOFF_QUEUE and free <= self._events.handoff.queue.length():
            return self._events.handoff
        return self._events.pick_endpoint()

    def _should_accept(self) -> bool:
        policy = self._policy
        before, self._answered_before = self._answered_before, self._server.counters.requests
        if self._server.has_websockets and policy.defers_to_heirs():
            return self._waited >= HEIRS_FIRST and policy.may_accept_overdue()
        if policy.may_accept(
            self._answered_before > before, self._waited > 0, self._events.count_waiting
        ):
            return True
        return self._waited >= policy.guard and policy.may_accept_overdue()

    def _decide_if_waiting(self) -> None:
        if not self._is_closed and self._events.has_waiting():
            self._decide()

    def _schedule_retry(self) -> None:
        """Look at the queues again soon: after some milliseconds, or when the load of this worker
        falls. A connection that waits is for a sibling with less load, which was woken as well, but
        it must not wait for long."""
        if not self._awaits_lower_load:
            self._awaits_lower_load = True
            self._server.call_when_less_busy(self._retry_at_lower_load)
        if not self._has_retry_timer:
            self._has_retry_timer = True
            pause = min(max(SHORTEST_PAUSE, self._waited), LONGEST_PAUSE)
            self._loop.call_later(pause, self._retry, pause, self._loop.time() + pause)

    def _retry_at_lower_load(self) -> None:
        self._awaits_lower_load = False
        if self._is_closed:
            return
        if self._events.has_waiting():
            self._decide()
        else:
            self._events.set_wakeup(True)

    def _retry(self, pause: float, due: float) -> None:
        """Look at the queues again after a pause. The pause does not count as waiting time if a
        call blocked the loop meanwhile: a sibling may have served many connections in that time."""
        self._has_retry_timer = False
        if self._is_closed:
            return
        if not self._events.has_waiting():
            self._waited = 0.0
            self._events.set_wakeup(True)
            return
        on_time = self._loop.time() - due < TIMER_LATE
        self._waited = self._waited + pause if on_time else 0.0
        self._decide()

    def _pause_at_limit(self) -> None:
        """Leave new connections in the queue, for a sibling or until a connection of this worker
        ends."""
        if not self._is_full:
            self._log.info(
                "worker %d is at the limit of its connections; others wait in the queue",
                worker().slot,
            )
        self._is_full = True
        self._load.mark_unavailable()

    def _accept_from(self, endpoint: Endpoint | HandoffQueue | None) -> bool:
        """Accept one connection and return whether there was one.

        Its expected request counts as load before the next decision. An error that belongs to the
        connection costs that connection only. ``endpoint``: None where none has a connection.
        """
        self._waited = 0.0
        if endpoint is None:
            return False
        try:
            fd, address = endpoint.accept()
        except BlockingIOError:
            return False  # a sibling was faster
        except InvalidMessageError as error:
            self._log_queue_error(f"a message was dropped, because it is no connection ({error})")
            return False
        except OSError as error:
            if error.errno in EXHAUSTION_ERRORS:
                self._pause_when_exhausted(error)
            elif error.errno == errno.EPIPE and endpoint is self._events.handoff:
                self._events.ignore_handoff()
                self._log_queue_error("it was shut down, and no more connections come from it")
            else:
                # The queue may hold further connections, whose wakeups are spent (accept(2), "Error
                # handling").
                self._schedule_retry()
            return False
        # The connection counts from here on. When its protocol is made, it counts for itself
        # (http/pending_connections.py).
        self._load.add_connection()
        if isinstance(endpoint, HandoffQueue):
            then = self._on_connected if unread_bytes(fd) else self._on_connected_idle
            connected = self._connector.connect(fd, address.family, address.addresses, then)
        elif endpoint.is_direct:
            self._on_accepted(fd)
            addresses = endpoint.addresses(address)
            connected = self._connector.connect(fd, endpoint.family, addresses, self._on_connected)
        else:
            self._on_accepted(fd)
            self._begin_handshake(endpoint, fd, address)
            connected = True
        if not connected:
            self._uncount()
            self._pause_when_exhausted(OSError(errno.ENOSPC, "the kernel watches no more sockets"))
        return connected

    def _begin_handshake(self, endpoint: Endpoint, fd: int, address: Any) -> None:
        connecting = self._handshaker.connect(endpoint, Socket(fileno=fd), address)
        handshake = self._loop.create_task(connecting)
        self._pending[handshake] = endpoint
        handshake.add_done_callback(self._end_handshake)

    def _uncount(self) -> None:
        """Take a connection off the load that did not become one of HTTP."""
        self._load.add(-CONNECTION)
        self._load.add_expected_requests(-1)

    def _on_connected(self, _connection: OpenConnection) -> None:
        self.resume_if_room()

    def _on_connected_idle(self, connection: OpenConnection) -> None:
        """Make a connection an idle one: a sibling has answered its client before, and it has sent
        nothing since."""
        if connection.movable is not None:
            connection.movable.skip_first_deadline()
        self.resume_if_room()

    def _end_handshake(self, handshake: asyncio.Future[Any]) -> None:
        del self._pending[handshake]
        if not handshake.cancelled() and handshake.result() is False:
            self._uncount()
        self.resume_if_room()

    def _log_queue_error(self, text: str) -> None:
        """Log an error of the handoff queue, once: only another worker can cause it, and it may go
        on doing so."""
        if not self._has_logged_queue_error:
            self._has_logged_queue_error = True
            self._log.error(
                "worker %d, handoff queue: %s; another worker has misused it", worker().slot, text
            )

    def _pause_when_exhausted(self, error: OSError) -> None:
        """Stop accepting for a moment, since this process lacks descriptors or memory. The clients
        wait in the queue, where a sibling finds them."""
        if not self._has_logged_exhaustion:
            self._has_logged_exhaustion = True
            self._log.error(
                "worker %d cannot accept connections: %s; it tries again every 100 ms",
                worker().slot,
                error.strerror,
            )
        self._is_full = True
        self._load.mark_unavailable()
        self._loop.call_later(EXHAUSTION_PAUSE, self.resume_if_room)
