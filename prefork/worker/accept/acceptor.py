"""Take connections off the shared listeners, one at a time, when it is our turn (accept_policy.py).

Not ``loop.create_server``: that takes a whole burst at once, so that one worker sits on
connections that its idle siblings could serve, and it resets the backlog. Here a worker takes one
connection, publishes that it has one more to serve, and looks again when it has served somebody.
"""

import asyncio
import errno
import logging
from collections.abc import Callable
from functools import partial
from socket import socket as Socket  # noqa: N812 - as it was before an app patched the module
from typing import Any

from prefork.http.load import CONNECTION
from prefork.http.peer import Addresses
from prefork.http.server_state import ServerState
from prefork.unix.shared_queue import InvalidMessageError, unread_bytes
from prefork.worker.accept.accept_events import AcceptEvents
from prefork.worker.accept.accept_policy import AcceptPolicy
from prefork.worker.accept.accepted_socket import AcceptedSocket
from prefork.worker.accept.endpoints import ConnectionFactory, Endpoint, Handshaker
from prefork.worker.accept.handoff import HandoffQueue, resume_idle_connection

EXHAUSTION_PAUSE = 0.1
"""Seconds without accepting after the process ran out of descriptors or memory."""

SHORTEST_PAUSE = 0.001
LONGEST_PAUSE = 0.004
"""Seconds without looking at connections that a sibling should take."""

HEIRS_FIRST = 1.0
"""Seconds for which a worker that is to be replaced leaves a connection to workers that are not, if
it has had WebSockets: the worker would soon close them, and they would connect again. Plain HTTP
is not worth it, because a single heir must not be left with the load of all."""

TURNS_PER_ANSWER = 4
"""Turns of the loop in which a connection is made, and what it asks for is read and answered."""

TIMER_LATE = 0.005
"""Seconds; who comes back so late was held up by a call."""

EXHAUSTION_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of accept(2) that say what this process lacks, and nothing of the connection."""


class Acceptor:
    """From ``open`` to ``close``; connections go to ``make_protocol``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        events: AcceptEvents,
        make_protocol: ConnectionFactory,
        log: logging.Logger,
        policy: AcceptPolicy,
        service: ServerState,
        max_connections: float,
        on_accepted: Callable[[int], None],
    ) -> None:
        """``most``: connections at a time; ``on_taken`` is told the descriptor of each."""
        self._loop = loop
        self._events = events
        self._service = service
        self._max_connections = max_connections
        self._answered_before = 0
        """Requests when we looked last."""
        self._policy = policy
        self._load = policy.load
        self._on_accepted = on_accepted
        self._is_full = False
        self._make_protocol = make_protocol
        self._handshaker = Handshaker(loop, make_protocol, log)
        self._log = log
        self._is_stopped = False
        self._is_closed = False
        self._has_logged_exhaustion = self._has_logged_queue_error = False
        self._pending: dict[asyncio.Future[Any], Any] = {}
        """What is waited for, and what waits."""
        self._waited = 0.0
        """Seconds for which we have left to a sibling what waits."""
        self._has_retry_timer = self._awaits_lower_load = False
        """There is a timer for it; we are told when there is less to do."""

    def open(self, on_waiting: Callable[[], None]) -> None:
        """Begin to accept; ``on_news`` is called before a look at whatever has come."""

        def look() -> None:
            on_waiting()
            self._decide_if_waiting()

        self._events.open(look)
        self._load.mark_available()

    def check_queues(self) -> None:
        """Look at the queues, whatever was said of them: no connection depends on a single look.

        A wake-up comes once for each connection. Should the look after it find nothing, for a
        reason that we do not know, the connection would wait for the next one to come.
        """
        self.resume_if_room()
        self._decide_if_waiting()

    def resume_if_room(self) -> None:
        """A connection is gone."""
        if self._is_full and not self._is_stopped and not self._is_closed and self._has_room():
            self._is_full = False
            self._load.mark_available()
            self._events.set_wakeup(True)
            self._service.call_soon(self._decide_if_waiting)

    def stop(self) -> None:
        """Take no more; safe in a signal handler. ``close`` follows."""
        self._is_stopped = True
        self._load.mark_unavailable()

    def close(self) -> None:
        """Stop, and close this process's copies; the queue lives on in the master's."""
        if not self._is_closed:
            self._is_closed = True
            self._load.mark_unavailable()
            self._events.close()

    async def wait_for_handshakes(self, patience: float) -> None:
        """Wait until all that was taken has its protocol: nobody else would know of it.

        A handshake that is not done within ``patience`` seconds is given up.
        """
        if self._pending:
            timer = self._loop.call_later(patience, self._cancel_handshakes)
            # Not asyncio.wait, which asks for the running loop: WSGI hides it.
            await asyncio.gather(*self._pending, return_exceptions=True)
            timer.cancel()

    def _cancel_handshakes(self) -> None:
        for handshake in self._pending:
            if isinstance(handshake, asyncio.Task):
                handshake.cancel()

    def accept_all_waiting(self) -> None:
        """Take all that wait: with the master gone, closing the last copy would reset them."""
        for endpoint in self._events.endpoints:
            while self._accept_from(endpoint):
                pass

    async def empty_handoff_queue(self) -> None:
        """Take what siblings gave away, as there is nobody else who would; one after the other, as
        those who leave with us do the same."""
        while self._accept_from(self._events.handoff):
            for _ in range(TURNS_PER_ANSWER):
                await asyncio.sleep(0)

    def _decide(self) -> None:
        """Somebody waits, or did so a moment ago."""
        if self._is_stopped or self._is_full:
            return
        if not self._has_room():
            self._pause_at_limit()
        elif self._policy.is_unrestricted:
            self._events.set_wakeup(True)
            if self._accept_one() or not self._has_retry_timer:
                # Also when a sibling was faster: another listener may have one.
                self._loop.call_soon(self._decide_if_waiting)
        else:
            self._accept_if_allowed()

    def _has_room(self) -> bool:
        return len(self._service.connections) + len(self._pending) < self._max_connections

    def _should_accept(self) -> bool:
        policy = self._policy
        before, self._answered_before = self._answered_before, self._service.requests
        if self._service.has_websockets and policy.defers_to_heirs():
            return self._waited >= HEIRS_FIRST and policy.may_accept_overdue()
        if policy.may_accept(
            self._answered_before > before, self._waited > 0, self._events.count_waiting
        ):
            return True
        return self._waited >= policy.guard and policy.may_accept_overdue()

    def _accept_if_allowed(self) -> None:
        """One, if it is our turn. While we are about to serve it we need not be woken for others:
        we come back when we have."""
        accepted = self._should_accept() and self._accept_one()
        if accepted:
            self._policy.record_accept()
        self._events.set_wakeup(not accepted)
        self._schedule_retry()

    def _accept_one(self) -> bool:
        """What it asks for counts before there is another."""
        self._waited = 0.0
        endpoint = self._events.pick_endpoint()
        return endpoint is not None and self._accept_from(endpoint)

    def _decide_if_waiting(self) -> None:
        if not self._is_closed and self._events.has_waiting():
            self._decide()

    def _schedule_retry(self) -> None:
        """What else waits is for a sibling that has less to do, and was woken as well, or for us
        when we have less; but nothing is to wait for long."""
        if not self._awaits_lower_load:
            self._awaits_lower_load = True
            self._service.call_when_less_busy(self._retry_at_lower_load)
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
        """A call that blocked us is no pause: meanwhile a sibling may have served many."""
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
        """Who comes now waits in the queue, for a sibling or until a connection is gone."""
        if not self._is_full:
            self._log.info("at the limit of its connections; others wait")
        self._is_full = True
        self._load.mark_unavailable()

    def _accept_from(self, endpoint: Endpoint | HandoffQueue) -> bool:
        """One connection. Errors of accept(2) that belong to the connection are its end only."""
        try:
            fd, address = endpoint.accept()
        except BlockingIOError:
            return False  # a sibling was faster
        except InvalidMessageError as error:
            self._log_queue_error(f"dropped what is no shared connection ({error})")
            return False
        except OSError as error:
            if error.errno in EXHAUSTION_ERRORS:
                self._pause_when_exhausted(error)
            elif error.errno == errno.EPIPE and endpoint is self._events.handoff:
                self._events.ignore_handoff()
                self._log_queue_error("takes no shared connections any more")
            else:
                # The queue may hold others, whose wake-ups are spent (accept(2), "Error handling").
                self._schedule_retry()
            return False
        if isinstance(endpoint, HandoffQueue):
            then = self._finish_connecting if unread_bytes(fd) else self._finish_connecting_idle
            self._connect_directly(fd, address.family, address.addresses, then)
        elif endpoint.is_direct:
            self._on_accepted(fd)
            self._connect_directly(
                fd, endpoint.socket.family, endpoint.addresses(address), self._finish_connecting
            )
        else:
            self._on_accepted(fd)
            sock = Socket(fileno=fd)
            handshake = self._loop.create_task(self._handshaker.connect(endpoint, sock, address))
            self._pending[handshake] = endpoint
            handshake.add_done_callback(self._end_handshake)
        # It counts from here on, and when its protocol is made for itself; see
        # http/pending_connections.py.
        self._load.add(+CONNECTION)
        self._load.add_expected_requests(+1)
        return True

    def _connect_directly(
        self, fd: int, family: int, addresses: Addresses | None, then: Callable[[Any], None]
    ) -> None:
        """Through an open one. The loop's coroutine has a single wait; to run it up to there, and
        later to its end, is what a task would do, at a tenth of the cost of a connection."""
        make = partial(self._make_protocol, addresses)
        connecting = self._loop.connect_accepted_socket(make, AcceptedSocket(fd, family))  # type: ignore[arg-type]
        made = connecting.send(None)
        self._pending[made] = connecting
        made.add_done_callback(then)

    def _finish_connecting(self, made: asyncio.Future[Any]) -> Any:
        """The transport and its protocol."""
        try:
            self._pending.pop(made).send(None)
        except StopIteration as done:
            return done.value
        finally:
            self.resume_if_room()

    def _finish_connecting_idle(self, made: asyncio.Future[Any]) -> None:
        _, connection = self._finish_connecting(made)
        resume_idle_connection(connection)

    def _end_handshake(self, handshake: asyncio.Future[Any]) -> None:
        del self._pending[handshake]
        if not handshake.cancelled() and handshake.result() is False:
            self._load.add(-CONNECTION)  # it was not let in
            self._load.add_expected_requests(-1)
        self.resume_if_room()

    def _log_queue_error(self, text: str) -> None:
        """Once: only a sibling can have done that, and it may go on doing it."""
        if not self._has_logged_queue_error:
            self._has_logged_queue_error = True
            self._log.error("%s: a worker wrote into the queue of all, or shut it down", text)

    def _pause_when_exhausted(self, error: OSError) -> None:
        """Out of descriptors: waiting clients stay in the queue, where a sibling finds them."""
        if not self._has_logged_exhaustion:
            self._has_logged_exhaustion = True
            self._log.error("cannot accept: %s; trying again every 100 ms", error.strerror)
        self._is_full = True
        self._load.mark_unavailable()
        self._loop.call_later(EXHAUSTION_PAUSE, self.resume_if_room)
