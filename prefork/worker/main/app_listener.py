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

    counted: CountedListeners
    in_loop: bool
    stopping: app_api.Stopping
    _timeout: float | None
    _channel: MasterChannel
    _heartbeat: LoopHeartbeat

    @classmethod
    def wrap(
        cls,
        listener: Listener,
        stopping: app_api.Stopping,
        channel: MasterChannel,
        counted: CountedListeners,
        heartbeat: LoopHeartbeat,
        in_loop: bool,
    ) -> "AppListener":
        """Take over the descriptor. ``in_loop``: an event loop of ours calls ``accept``, which then
        neither blocks nor leaves, as the other tasks would suffer; when stopping it has no more."""
        sock = listener.socket
        wrapped = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        wrapped._timeout = 0.0 if in_loop else None
        wrapped.stopping, wrapped._channel, wrapped.in_loop = stopping, channel, in_loop
        wrapped.counted, wrapped._heartbeat = counted, heartbeat
        return wrapped

    def listen(self, _backlog: int = 0) -> None:
        """It listens already. The queue is shared with all siblings and is as long as --backlog
        says: what a server class asks for (asyncio: 100) would shorten it for all workers."""

    def settimeout(self, value: float | None) -> None:
        """As always, but the shared O_NONBLOCK flag is left alone."""
        self._timeout = value

    def gettimeout(self) -> float | None:
        """As set."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """As always, but the shared O_NONBLOCK flag is left alone."""
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        """As set."""
        return self._timeout != 0.0

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection. Raises SystemExit when the worker is to leave, and in a process that
        the app forked."""
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        self.counted.start_accepting(self)
        while True:
            self._channel.beat_until(0.0)
            try:
                accepted = self._try_accept()
            except BlockingIOError:
                if self._timeout == 0.0:
                    raise
                self._wait(deadline)
                continue
            if accepted is not None:
                return accepted
            # A loop that is told that nothing is there comes back at once; others may go on.
            self._poll(RETRY_DELAY)
            if self.in_loop:
                raise _would_block()

    def accept_admitted(self) -> tuple[CountedConnection, Any] | None:
        """The next connection; None: one waits, but is left to a sibling for now. For event loops.

        Raises BlockingIOError when none waits, SystemExit when the worker is to leave and its loop
        is not ours, or in a process that the app forked, and OSError as accept(2).
        """
        accepted = self._try_accept()
        if accepted is not None:
            self._heartbeat.wake()
        return accepted

    def _try_accept(self) -> tuple[CountedConnection, Any] | None:
        if fork_hooks.in_child:
            raise SystemExit(0)
        if self.is_leaving:
            self.stop_accepting()
            raise _would_block()
        if not self._poll(0, self.fileno()):
            self.counted.reset_wait()
            raise _would_block()
        if not self.counted.may_accept(self):
            return None
        # A sibling may have been faster: BlockingIOError. Not super().accept(), which makes a
        # socket of the class that an app may have put into the module; gevent's sets O_NONBLOCK.
        return self.counted.count_accepted(self, *self._accept())  # type: ignore[attr-defined]

    @property
    def is_leaving(self) -> bool:
        """The worker is to leave, and the app does not see to that by itself."""
        return bool(self.stopping) and not self.stopping.asked

    def stop_accepting(self) -> None:
        """Have no more connections. Raises SystemExit if that is to end the app."""
        if self.is_leaving:
            self.counted.stop_accepting()
            if not self.in_loop:
                raise SystemExit(0)

    def start_heartbeat(self, loop: asyncio.AbstractEventLoop) -> None:
        """The app's connections are served in that loop: hangs of it are hangs of the worker."""
        self._heartbeat.start(loop)

    def _real_close(self, *args: Any) -> None:
        self.counted.end_accepting(self)
        super()._real_close(*args)  # type: ignore[misc]

    def _wait(self, deadline: float | None) -> None:
        wait = self._heartbeat.longest_pause
        if deadline is not None:
            wait = min(wait, deadline - time.monotonic())
            if wait <= 0:
                raise TimeoutError("timed out")
        self._channel.beat_until(wait)
        self._poll(wait, self.fileno())

    def _poll(self, wait: float, *also: int) -> bool:
        """Until one of ``also`` is readable, or we are to leave: whether the first is. The poll of
        gevent lets green threads run meanwhile; eventlet takes it out of the module."""
        poll = getattr(select, "poll", _poll)()
        for fd in (*also, self.stopping.fileno()):
            poll.register(fd, select.POLLIN)
        ready = poll.poll(wait * 1000)
        return any(fd in also for fd, _ in ready)


def _would_block() -> BlockingIOError:
    return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
