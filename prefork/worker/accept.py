"""Take connections off the shared listeners, one at a time.

Not ``loop.create_server``: that takes a whole burst at once, so that one worker sits on
connections that its idle siblings could serve, and it resets the backlog. Here each wake takes one
connection and looks again after the loop has had its turn.
"""

import asyncio
import errno
import logging
from collections.abc import Callable
from socket import socket

from prefork.unix.listeners import Listener

REST = 0.1
"""Seconds without accepting after the process ran out of descriptors or memory."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Watches the listeners from ``open`` to ``close``; connections go to ``make_protocol``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listeners: list[Listener],
        make_protocol: Callable[[], asyncio.Protocol],
        log: logging.Logger,
    ) -> None:
        self._loop = loop
        self._sockets = [listener.socket for listener in listeners]
        self._make_protocol = make_protocol
        self._log = log
        self._shut = False
        self._closed = False
        self._complained = False
        self._arriving: set[asyncio.Task[object]] = set()

    def open(self) -> None:
        """Begin to accept."""
        for sock in self._sockets:
            self._loop.add_reader(sock.fileno(), self._on_waiting, sock)

    def shut(self) -> None:
        """Take no more; safe in a signal handler. ``close`` follows."""
        self._shut = True

    def close(self) -> None:
        """Stop, and close this process's copies; the queue lives on in the master's."""
        if not self._closed:
            self._closed = True
            for sock in self._sockets:
                self._loop.remove_reader(sock.fileno())
                sock.close()

    async def settle(self) -> None:
        """Wait until all that was taken has its protocol: nobody else would know of it."""
        if self._arriving:
            # Not asyncio.wait, which asks for the running loop: WSGI hides it.
            await asyncio.gather(*self._arriving, return_exceptions=True)

    def empty_queue(self) -> None:
        """Take all that wait: with the master gone, closing the last copy would reset them."""
        for sock in self._sockets:
            while self._take(sock):
                pass

    def _on_waiting(self, listener: socket) -> None:
        if not self._shut:
            self._take(listener)

    def _take(self, listener: socket) -> bool:
        """One connection. Errors of accept(2) that belong to the connection are its end only."""
        try:
            taken, _ = listener.accept()
        except (BlockingIOError, InterruptedError):
            return False  # a sibling was faster
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._rest(listener, error)
            return False
        arrival = self._loop.create_task(
            self._loop.connect_accepted_socket(self._make_protocol, taken)
        )
        self._arriving.add(arrival)
        arrival.add_done_callback(self._arriving.discard)
        return True

    def _rest(self, listener: socket, error: OSError) -> None:
        """Out of descriptors: waiting clients stay in the queue, where a sibling finds them."""
        if not self._complained:
            self._complained = True
            self._log.error("cannot accept: %s; trying again every 100 ms", error.strerror)
        self._loop.remove_reader(listener.fileno())
        self._loop.call_later(REST, self._wake, listener)

    def _wake(self, listener: socket) -> None:
        if not self._closed:
            self._loop.add_reader(listener.fileno(), self._on_waiting, listener)
