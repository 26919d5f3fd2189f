"""Take connections off the shared listeners, one at a time.

Not ``loop.create_server``: that takes a whole burst at once, so that one worker sits on
connections that its idle siblings could serve, and it resets the backlog. Here each wake takes one
connection and looks again after the loop has had its turn.
"""

import asyncio
import errno
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from prefork.worker.doors import Door, Doorkeeper, Make

REST = 0.1
"""Seconds without accepting after the process ran out of descriptors or memory."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Watches the doors from ``open`` to ``close``; connections go to ``make_protocol``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        doors: list[Door],
        make_protocol: Make,
        log: logging.Logger,
        has_room: Callable[[int], bool],
    ) -> None:
        """``has_room`` for one more, when so many are on their way in already."""
        self._loop = loop
        self._has_room = has_room
        self._full = False
        self._doors = doors
        self._make_protocol = make_protocol
        self._doorkeeper = Doorkeeper(loop, make_protocol, log)
        self._log = log
        self._shut = False
        self._closed = False
        self._complained = False
        self._arriving: dict[asyncio.Future[Any], Door] = {}

    def open(self) -> None:
        """Begin to accept."""
        for door in self._doors:
            self._listen_at(door)

    def _listen_at(self, door: Door) -> None:
        self._loop.add_reader(door.socket.fileno(), self._on_waiting, door)

    def make_room(self) -> None:
        """A connection is gone."""
        if self._full and not self._closed and self._has_room(len(self._arriving)):
            self._full = False
            self.open()

    def shut(self) -> None:
        """Take no more; safe in a signal handler. ``close`` follows."""
        self._shut = True

    def close(self) -> None:
        """Stop, and close this process's copies; the queue lives on in the master's."""
        if not self._closed:
            self._closed = True
            for door in self._doors:
                self._loop.remove_reader(door.socket.fileno())
                door.socket.close()

    async def settle(self, patience: float) -> None:
        """Wait until all that was taken has its protocol: nobody else would know of it.

        A handshake that is not done within ``patience`` seconds is given up.
        """
        if self._arriving:
            timer = self._loop.call_later(patience, self._give_up_handshakes)
            # Not asyncio.wait, which asks for the running loop: WSGI hides it.
            await asyncio.gather(*self._arriving, return_exceptions=True)
            timer.cancel()

    def _give_up_handshakes(self) -> None:
        for arrival, door in self._arriving.items():
            if not door.is_open:
                arrival.cancel()

    def empty_queue(self) -> None:
        """Take all that wait: with the master gone, closing the last copy would reset them."""
        for door in self._doors:
            while self._take(door):
                pass

    def _on_waiting(self, door: Door) -> None:
        if self._shut:
            return
        if self._has_room(len(self._arriving)):
            self._take(door)
        else:
            self._turn_away()

    def _turn_away(self) -> None:
        """Who comes now waits in the queue, for a sibling or until a connection is gone."""
        if not self._full:
            self._log.info("at the limit of its connections; others wait")
        self._full = True
        for door in self._doors:
            self._loop.remove_reader(door.socket.fileno())

    def _take(self, door: Door) -> bool:
        """One connection. Errors of accept(2) that belong to the connection are its end only."""
        try:
            taken, address = door.socket.accept()
        except (BlockingIOError, InterruptedError):
            return False  # a sibling was faster
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._rest(door, error)
            return False
        arrival: asyncio.Future[Any]
        if door.is_open:
            make = partial(self._make_protocol, door.addresses(address))
            arrival = _begin(self._loop.connect_accepted_socket(make, taken))
        else:
            arrival = self._loop.create_task(self._doorkeeper.admit(door, taken, address))
        self._arriving[arrival] = door
        arrival.add_done_callback(self._arrived)
        return True

    def _arrived(self, arrival: asyncio.Future[Any]) -> None:
        del self._arriving[arrival]
        self.make_room()  # it may not have been let in

    def _rest(self, door: Door, error: OSError) -> None:
        """Out of descriptors: waiting clients stay in the queue, where a sibling finds them."""
        if not self._complained:
            self._complained = True
            self._log.error("cannot accept: %s; trying again every 100 ms", error.strerror)
        self._loop.remove_reader(door.socket.fileno())
        self._loop.call_later(REST, self._wake, door)

    def _wake(self, door: Door) -> None:
        if not self._closed and not self._full:
            self._listen_at(door)


def _begin(arrival: Coroutine[Any, Any, object]) -> asyncio.Future[Any]:
    """Run it up to its only wait, and from there to its end when that is over: what it waits for.

    A task would do the same, and cost a tenth of a connection.
    """
    waits_for: asyncio.Future[Any] = arrival.send(None)

    def go_on(_waited: object) -> None:
        try:
            arrival.send(None)
        except StopIteration:
            pass

    waits_for.add_done_callback(go_on)
    return waits_for
