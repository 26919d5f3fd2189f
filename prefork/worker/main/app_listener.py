"""The listening socket that a ``main`` gets, as the app and its event loops see it.

``accept`` also looks out for the stop signal and beats for the hang detection; event loops use
``turn`` instead (loop_server.py). The O_NONBLOCK flag is shared with all siblings and stays set;
blocking is done here, by poll.
"""

import asyncio
import errno
import os
import select
import socket
import time
from typing import Any

from prefork.unix.listeners import Listener
from prefork.worker import app_api, fork_hooks
from prefork.worker.main.counted_listener import RETRY_DELAY, CountedConnection, CountedListeners
from prefork.worker.main.loop_heartbeat import LoopHeartbeat
from prefork.worker.master_channel import MasterChannel

_poll = select.poll


class AppListener(socket.socket):
    """A listening socket as the app sees it."""

    entrance: CountedListeners
    in_loop: bool
    stopping: app_api.Stopping
    _patience: float | None
    _line: MasterChannel
    _beat: LoopHeartbeat

    @classmethod
    def wrap(
        cls,
        listener: Listener,
        stopping: app_api.Stopping,
        line: MasterChannel,
        entrance: CountedListeners,
        beat: LoopHeartbeat,
        in_loop: bool,
    ) -> "AppListener":
        """Take over the descriptor. ``in_loop``: an event loop of ours calls ``accept``, which then
        neither blocks nor leaves, as the other tasks would suffer; when stopping it has no more."""
        sock = listener.socket
        made = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        made._patience = 0.0 if in_loop else None
        made.stopping, made._line, made.in_loop = stopping, line, in_loop
        made.entrance, made._beat = entrance, beat
        return made

    def listen(self, _backlog: int = 0) -> None:
        """It listens already. The queue is shared with all siblings and is as long as --backlog
        says: what a server class asks for (asyncio: 100) would shorten it for all workers."""

    def settimeout(self, value: float | None) -> None:
        """As always, but the shared O_NONBLOCK flag is left alone."""
        self._patience = value

    def gettimeout(self) -> float | None:
        """As set."""
        return self._patience

    def setblocking(self, flag: bool) -> None:
        """As always, but the shared O_NONBLOCK flag is left alone."""
        self._patience = None if flag else 0.0

    def getblocking(self) -> bool:
        """As set."""
        return self._patience != 0.0

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection. Raises SystemExit when the worker is to leave, and in a process that
        the app forked."""
        until = None if self._patience is None else time.monotonic() + self._patience
        self.entrance.open(self)
        while True:
            self._line.beat_until(0.0)
            try:
                taken = self._next()
            except BlockingIOError:
                if self._patience == 0.0:
                    raise
                self._wait(until)
                continue
            if taken is not None:
                return taken
            # A loop that is told that nothing is there comes back at once; others may go on.
            self._poll(RETRY_DELAY)
            if self.in_loop:
                raise _nothing()

    def turn(self) -> tuple[CountedConnection, Any] | None:
        """The next connection; None: one waits, but is left to a sibling for now. For event loops.

        Raises BlockingIOError when none waits, SystemExit when the worker is to leave and its loop
        is not ours, or in a process that the app forked, and OSError as accept(2).
        """
        taken = self._next()
        if taken is not None:
            self._beat.wake()
        return taken

    def _next(self) -> tuple[CountedConnection, Any] | None:
        if fork_hooks.in_child:
            raise SystemExit(0)
        if self.leaves:
            self.leave()
            raise _nothing()
        if not self._poll(0, self.fileno()):
            self.entrance.nobody_waits()
            raise _nothing()
        if not self.entrance.admits(self):
            return None
        # A sibling may have been faster: BlockingIOError. Not super().accept(), which makes a
        # socket of the class that an app may have put into the module; gevent's sets O_NONBLOCK.
        return self.entrance.taken(self, *self._accept())  # type: ignore[attr-defined]

    @property
    def leaves(self) -> bool:
        """The worker is to leave, and the app does not see to that by itself."""
        return bool(self.stopping) and not self.stopping.asked

    def leave(self) -> None:
        """Have no more connections. Raises SystemExit if that is to end the app."""
        if self.leaves:
            self.entrance.leave()
            if not self.in_loop:
                raise SystemExit(0)

    def beat_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """The app's connections are served in that loop: hangs of it are hangs of the worker."""
        self._beat.start(loop)

    def _real_close(self, *args: Any) -> None:
        self.entrance.shut(self)
        super()._real_close(*args)  # type: ignore[misc]

    def _wait(self, until: float | None) -> None:
        wait = self._beat.longest
        if until is not None:
            wait = min(wait, until - time.monotonic())
            if wait <= 0:
                raise TimeoutError("timed out")
        self._line.beat_until(wait)
        self._poll(wait, self.fileno())

    def _poll(self, wait: float, *also: int) -> bool:
        """Until one of ``also`` is readable, or we are to leave: whether the first is. The poll of
        gevent lets green threads run meanwhile; eventlet takes it out of the module."""
        poll = getattr(select, "poll", _poll)()
        for fd in (*also, self.stopping.fileno()):
            poll.register(fd, select.POLLIN)
        ready = poll.poll(wait * 1000)
        return any(fd in also for fd, _ in ready)


def _nothing() -> BlockingIOError:
    return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
