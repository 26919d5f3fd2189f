"""The listening socket that a ``main`` gets, as the app and its event loops see it.

``accept`` also watches for the stop signal and beats for the hang detection; event loops use
``accept_admitted`` instead (loop_server.py).

Design
------
- **O_NONBLOCK stays set.** It belongs to the open socket, which all workers share. Blocking is done
  here, by poll(2), so each app may choose.
- **The backlog is the operator's.** The queue is one for all workers, so a main that hands the
  socket to ``asyncio.start_server`` does not shorten it to asyncio's 100.
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
    """A listening socket as the app sees it.

    ``in_loop``: main is async and runs in a loop of ours. ``stopping``: the flag of the worker.
    ``counted``: counts what all listeners of the worker accept.
    """

    counted: CountedListeners
    in_loop: bool
    stopping: app_api.Stopping
    _timeout: float | None
    """As socket.settimeout: seconds; 0: do not block; None: block without limit."""
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
        """Make one of a listener, whose descriptor it takes over.

        ``in_loop``: an event loop of ours calls ``accept``, which then neither blocks nor ends the
        app, because other tasks would suffer; at the stop it has no more connections.
        """
        sock = listener.socket
        wrapped = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        wrapped._timeout = 0.0 if in_loop else None
        wrapped.stopping, wrapped._channel, wrapped.in_loop = stopping, channel, in_loop
        wrapped.counted, wrapped._heartbeat = counted, heartbeat
        return wrapped

    def listen(self, _backlog: int = 0) -> None:
        """Do nothing: the socket listens already, with the queue that ``--backlog`` asks for. The
        value of a server class (asyncio: 100) would shorten the queue for all workers."""

    def settimeout(self, value: float | None) -> None:
        """As socket.settimeout; the shared O_NONBLOCK flag is left alone."""
        self._timeout = value

    def gettimeout(self) -> float | None:
        """As socket.gettimeout."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """As socket.setblocking; the shared O_NONBLOCK flag is left alone."""
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        """As socket.getblocking."""
        return self._timeout != 0.0

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection and its address.

        Raises SystemExit when the worker is to stop, and in a process that the app forked;
        TimeoutError and BlockingIOError as socket.accept.
        """
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        self.counted.add_listener(self)
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
            # The connection is left to a sibling for now. A loop that hears EAGAIN comes back
            # at once, because the socket is still readable.
            self._poll(RETRY_DELAY)
            if self.in_loop:
                raise _would_block()

    def accept_admitted(self) -> tuple[CountedConnection, Any] | None:
        """Return the next connection; None: one waits, but is left to a sibling for now. For event
        loops.

        Raises BlockingIOError when none waits, SystemExit in a process that the app forked or when
        the worker is to stop and the loop is not ours, and OSError as accept(2).
        """
        accepted = self._try_accept()
        if accepted is not None:
            self._heartbeat.wake()
        return accepted

    def _try_accept(self) -> tuple[CountedConnection, Any] | None:
        """Accept a connection if one waits and this worker may take it, without blocking."""
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
        # BlockingIOError if a sibling was faster. Not super().accept(): it makes a socket of the
        # class that is in the module now, and that of gevent sets O_NONBLOCK.
        return self.counted.count_accepted(self, *self._accept())  # type: ignore[attr-defined]

    @property
    def is_leaving(self) -> bool:
        """Return whether the worker is to stop, and the app does not call ``prefork.stopping()`` to
        see to that."""
        return bool(self.stopping) and not self.stopping.asked

    def stop_accepting(self) -> None:
        """Accept no more if the worker is leaving. Raises SystemExit if that is to end the app."""
        if self.is_leaving:
            self.counted.stop_accepting()
            if not self.in_loop:
                raise SystemExit(0)

    def start_heartbeat(self, loop: asyncio.AbstractEventLoop) -> None:
        """Beat from this loop: it serves the app's connections, so its hangs are hangs of the
        worker."""
        self._heartbeat.start(loop)

    def _real_close(self, *args: Any) -> None:
        """Close the socket (called by socket.close), and note that the app accepts no
        more from it."""
        self.counted.remove_listener(self)
        super()._real_close(*args)  # type: ignore[misc]

    def _wait(self, deadline: float | None) -> None:
        """Block until a connection waits or the worker is to stop. Raises TimeoutError at
        ``deadline``."""
        wait = self._heartbeat.longest_pause
        if deadline is not None:
            wait = min(wait, deadline - time.monotonic())
            if wait <= 0:
                raise TimeoutError("timed out")
        self._channel.beat_until(wait)
        self._poll(wait, self.fileno())

    def _poll(self, wait: float, *also: int) -> bool:
        """Wait until one of ``also`` is readable or the worker is to stop; whether one of ``also``
        is."""
        # The poll that is in the module now: gevent's lets green threads run meanwhile. eventlet
        # takes it out of the module, so the original is kept.
        poll = getattr(select, "poll", _poll)()
        for fd in (*also, self.stopping.fileno()):
            poll.register(fd, select.POLLIN)
        ready = poll.poll(wait * 1000)
        return any(fd in also for fd, _ in ready)


def _would_block() -> BlockingIOError:
    """Make the error for "no connection waits"."""
    return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
