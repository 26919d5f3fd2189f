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

TO_ITS_ANSWER = 4
"""Turns of the loop in which a connection is made, and what it asks for is read and answered."""

LATE = 0.005
"""Seconds; who comes back so late was held up by a call."""

EXHAUSTION_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of accept(2) that say what this process lacks, and nothing of the connection."""


class Acceptor:
    """From ``open`` to ``close``; connections go to ``make_protocol``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listening: AcceptEvents,
        make_protocol: ConnectionFactory,
        log: logging.Logger,
        gate: AcceptPolicy,
        service: ServerState,
        most: float,
        on_taken: Callable[[int], None],
    ) -> None:
        """``most``: connections at a time; ``on_taken`` is told the descriptor of each."""
        self._loop = loop
        self._listening = listening
        self._service = service
        self._most = most
        self._answered = 0
        """Requests when we looked last."""
        self._gate = gate
        self._load = gate.load
        self._on_taken = on_taken
        self._full = False
        self._make_protocol = make_protocol
        self._doorkeeper = Handshaker(loop, make_protocol, log)
        self._log = log
        self._shut = False
        self._closed = False
        self._complained = self._complained_of_queue = False
        self._arriving: dict[asyncio.Future[Any], Any] = {}
        """What is waited for, and what waits."""
        self._waited = 0.0
        """Seconds for which we have left to a sibling what waits."""
        self._looks_again = self._waits_for_less = False
        """There is a timer for it; we are told when there is less to do."""

    def open(self, on_news: Callable[[], None]) -> None:
        """Begin to accept; ``on_news`` is called before a look at whatever has come."""

        def look() -> None:
            on_news()
            self._look_further()

        self._listening.open(look)
        self._load.mark_available()

    def beat(self) -> None:
        """Look at the queues, whatever was said of them: no connection depends on a single look.

        A wake-up comes once for each connection. Should the look after it find nothing, for a
        reason that we do not know, the connection would wait for the next one to come.
        """
        self.make_room()
        self._look_further()

    def make_room(self) -> None:
        """A connection is gone."""
        if self._full and not self._shut and not self._closed and self._has_room():
            self._full = False
            self._load.mark_available()
            self._listening.set_wakeup(True)
            self._service.call_soon(self._look_further)

    def shut(self) -> None:
        """Take no more; safe in a signal handler. ``close`` follows."""
        self._shut = True
        self._load.mark_unavailable()

    def close(self) -> None:
        """Stop, and close this process's copies; the queue lives on in the master's."""
        if not self._closed:
            self._closed = True
            self._load.mark_unavailable()
            self._listening.close()

    async def wait_for_handshakes(self, patience: float) -> None:
        """Wait until all that was taken has its protocol: nobody else would know of it.

        A handshake that is not done within ``patience`` seconds is given up.
        """
        if self._arriving:
            timer = self._loop.call_later(patience, self._give_up_handshakes)
            # Not asyncio.wait, which asks for the running loop: WSGI hides it.
            await asyncio.gather(*self._arriving, return_exceptions=True)
            timer.cancel()

    def _give_up_handshakes(self) -> None:
        for arrival in self._arriving:
            if isinstance(arrival, asyncio.Task):
                arrival.cancel()

    def empty_queue(self) -> None:
        """Take all that wait: with the master gone, closing the last copy would reset them."""
        for door in self._listening.doors:
            while self._take(door):
                pass

    async def empty_way(self) -> None:
        """Take what siblings gave away, as there is nobody else who would; one after the other, as
        those who leave with us do the same."""
        while self._take(self._listening.way):
            for _ in range(TO_ITS_ANSWER):
                await asyncio.sleep(0)

    def _look(self) -> None:
        """Somebody waits, or did so a moment ago."""
        if self._shut or self._full:
            return
        if not self._has_room():
            self._turn_away()
        elif self._gate.is_unrestricted:
            self._listening.set_wakeup(True)
            if self._take_one() or not self._looks_again:
                # Also when a sibling was faster: another listener may have one.
                self._loop.call_soon(self._look_further)
        else:
            self._take_ours()

    def _has_room(self) -> bool:
        return len(self._service.connections) + len(self._arriving) < self._most

    def _is_ours(self) -> bool:
        gate = self._gate
        before, self._answered = self._answered, self._service.requests
        if self._service.has_websockets and gate.defers_to_heirs():
            return self._waited >= HEIRS_FIRST and gate.may_accept_overdue()
        if gate.may_accept(self._answered > before, self._waited > 0, self._listening.waiting):
            return True
        return self._waited >= gate.guard and gate.may_accept_overdue()

    def _take_ours(self) -> None:
        """One, if it is our turn. While we are about to serve it we need not be woken for others:
        we come back when we have."""
        taken = self._is_ours() and self._take_one()
        if taken:
            self._gate.record_accept()
        self._listening.set_wakeup(not taken)
        self._come_back()

    def _take_one(self) -> bool:
        """What it asks for counts before there is another."""
        self._waited = 0.0
        door = self._listening.pick_endpoint()
        return door is not None and self._take(door)

    def _look_further(self) -> None:
        if not self._closed and self._listening.has_waiting():
            self._look()

    def _come_back(self) -> None:
        """What else waits is for a sibling that has less to do, and was woken as well, or for us
        when we have less; but nothing is to wait for long."""
        if not self._waits_for_less:
            self._waits_for_less = True
            self._service.call_when_less_busy(self._has_less)
        if not self._looks_again:
            self._looks_again = True
            pause = min(max(SHORTEST_PAUSE, self._waited), LONGEST_PAUSE)
            self._loop.call_later(pause, self._look_again, pause, self._loop.time() + pause)

    def _has_less(self) -> None:
        self._waits_for_less = False
        if self._closed:
            return
        if self._listening.has_waiting():
            self._look()
        else:
            self._listening.set_wakeup(True)

    def _look_again(self, pause: float, due: float) -> None:
        """A call that blocked us is no pause: meanwhile a sibling may have served many."""
        self._looks_again = False
        if self._closed:
            return
        if not self._listening.has_waiting():
            self._waited = 0.0
            self._listening.set_wakeup(True)
            return
        on_time = self._loop.time() - due < LATE
        self._waited = self._waited + pause if on_time else 0.0
        self._look()

    def _turn_away(self) -> None:
        """Who comes now waits in the queue, for a sibling or until a connection is gone."""
        if not self._full:
            self._log.info("at the limit of its connections; others wait")
        self._full = True
        self._load.mark_unavailable()

    def _take(self, door: Endpoint | HandoffQueue) -> bool:
        """One connection. Errors of accept(2) that belong to the connection are its end only."""
        try:
            fd, address = door.accept()
        except BlockingIOError:
            return False  # a sibling was faster
        except InvalidMessageError as error:
            self._complain_of_queue(f"dropped what is no shared connection ({error})")
            return False
        except OSError as error:
            if error.errno in EXHAUSTION_ERRORS:
                self._rest(error)
            elif error.errno == errno.EPIPE and door is self._listening.way:
                self._listening.leave_way()
                self._complain_of_queue("takes no shared connections any more")
            else:
                # The queue may hold others, whose wake-ups are spent (accept(2), "Error handling").
                self._come_back()
            return False
        if isinstance(door, HandoffQueue):
            then = self._made if unread_bytes(fd) else self._made_silently
            self._let_in(fd, address.family, address.addresses, then)
        elif door.is_direct:
            self._on_taken(fd)
            self._let_in(fd, door.socket.family, door.addresses(address), self._made)
        else:
            self._on_taken(fd)
            taken = Socket(fileno=fd)
            arrival = self._loop.create_task(self._doorkeeper.admit(door, taken, address))
            self._arriving[arrival] = door
            arrival.add_done_callback(self._admitted)
        # It counts from here on, and when its protocol is made for itself; see
        # http/pending_connections.py.
        self._load.add(+CONNECTION)
        self._load.add_expected_requests(+1)
        return True

    def _let_in(
        self, fd: int, family: int, addresses: Addresses | None, then: Callable[[Any], None]
    ) -> None:
        """Through an open door. The loop's coroutine has a single wait; to run it up to there, and
        later to its end, is what a task would do, at a tenth of the cost of a connection."""
        make = partial(self._make_protocol, addresses)
        connecting = self._loop.connect_accepted_socket(make, AcceptedSocket(fd, family))  # type: ignore[arg-type]
        made = connecting.send(None)
        self._arriving[made] = connecting
        made.add_done_callback(then)

    def _made(self, made: asyncio.Future[Any]) -> Any:
        """The transport and its protocol."""
        try:
            self._arriving.pop(made).send(None)
        except StopIteration as done:
            return done.value
        finally:
            self.make_room()

    def _made_silently(self, made: asyncio.Future[Any]) -> None:
        _, connection = self._made(made)
        resume_idle_connection(connection)

    def _admitted(self, arrival: asyncio.Future[Any]) -> None:
        del self._arriving[arrival]
        if not arrival.cancelled() and arrival.result() is False:
            self._load.add(-CONNECTION)  # it was not let in
            self._load.add_expected_requests(-1)
        self.make_room()

    def _complain_of_queue(self, text: str) -> None:
        """Once: only a sibling can have done that, and it may go on doing it."""
        if not self._complained_of_queue:
            self._complained_of_queue = True
            self._log.error("%s: a worker wrote into the queue of all, or shut it down", text)

    def _rest(self, error: OSError) -> None:
        """Out of descriptors: waiting clients stay in the queue, where a sibling finds them."""
        if not self._complained:
            self._complained = True
            self._log.error("cannot accept: %s; trying again every 100 ms", error.strerror)
        self._full = True
        self._load.mark_unavailable()
        self._loop.call_later(EXHAUSTION_PAUSE, self.make_room)
