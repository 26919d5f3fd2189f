"""``main(listener)``: the app owns its accept loop, plain or async.

The listener is a real socket whose ``accept`` also looks out for the stop signal and beats for the
hang detection. Its O_NONBLOCK flag is shared with all siblings and stays set; blocking is done
here, by poll. How a main ends:

* one that asks ``prefork.stopping()`` leaves by itself, in its own time up to the kill timeout;
* a plain one that does not is left by SystemExit out of ``accept``, between two connections;
* an async one that does not is cancelled, and the tasks that it started may finish.
"""

import asyncio
import errno
import logging
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Any

import uvloop

from prefork.config import Config
from prefork.errors import AppError
from prefork.unix.listeners import Listener
from prefork.worker import current, fork_hooks
from prefork.worker.entrance import PAUSE, Entrance
from prefork.worker.fork_hooks import ForkHooks
from prefork.worker.interface import is_async
from prefork.worker.leave import Leave
from prefork.worker.line import Line

_poll = select.poll

BEAT = 0.25
"""Seconds between two beats while nothing happens."""


class AppListener(socket.socket):
    """A listening socket as the app sees it."""

    backlog: int
    _patience: float | None
    _leave: Leave
    _line: Line
    _entrance: Entrance
    _in_loop: bool

    @classmethod
    def wrap(
        cls,
        listener: Listener,
        backlog: int,
        leave: Leave,
        line: Line,
        entrance: Entrance,
        in_loop: bool,
    ) -> "AppListener":
        """Take over the descriptor. ``in_loop``: an event loop calls ``accept``, which then neither
        blocks nor leaves, as the other tasks would suffer; when stopping it has no more."""
        sock = listener.socket
        made = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        made.backlog = backlog
        made._patience = 0.0 if in_loop else None
        made._leave, made._line, made._in_loop = leave, line, in_loop
        made._entrance = entrance
        return made

    def listen(self, _backlog: int = 0) -> None:
        """It listens already. The queue is shared with all siblings and is as long as --backlog
        says: what a server class asks for (asyncio: 100) would shorten it for everybody."""

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
        if fork_hooks.in_child:
            raise SystemExit(0)
        until = None if self._patience is None else time.monotonic() + self._patience
        entrance = self._entrance
        entrance.open()
        while True:
            self._line.beat()
            if self._leave.stopping and not self._leave.stopping.asked:
                entrance.shut()
                raise BlockingIOError if self._in_loop else SystemExit(0)
            if not self._poll(0, self.fileno()):
                if self._patience == 0.0:
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                self._wait(until)
            elif not entrance.admits(self):
                # A loop that is told that nothing is there comes back at once; others may go on.
                self._poll(PAUSE)
                if self._in_loop:
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            else:
                try:
                    # Not super().accept(), which makes a socket of the class that an app may have
                    # put into the module; gevent's sets O_NONBLOCK.
                    return entrance.taken(self, *self._accept())  # type: ignore[attr-defined]
                except BlockingIOError:
                    pass  # a sibling was faster

    def _wait(self, until: float | None) -> None:
        wait = BEAT
        if until is not None:
            wait = min(wait, until - time.monotonic())
            if wait <= 0:
                raise TimeoutError("timed out")
        self._poll(wait, self.fileno())

    def _poll(self, wait: float, *also: int) -> bool:
        """Until one of ``also`` is readable, or we are to leave: whether the first is. The poll of
        gevent lets green threads run meanwhile; eventlet takes it out of the module."""
        poll = getattr(select, "poll", _poll)()
        for fd in (*also, self._leave.stopping.fileno()):
            poll.register(fd, select.POLLIN)
        ready = poll.poll(wait * 1000)
        return any(fd in also for fd, _ in ready)


class Loop(uvloop.Loop):
    """A uvloop that leaves the backlog alone; it listens by the descriptor, not by the method."""

    async def create_server(self, *args: Any, **kwargs: Any) -> Any:
        """What asyncio.start_server calls."""
        return await super().create_server(*args, **_own_backlog(kwargs))

    async def create_unix_server(self, *args: Any, **kwargs: Any) -> Any:
        """What asyncio.start_unix_server calls."""
        return await super().create_unix_server(*args, **_own_backlog(kwargs))


def _own_backlog(options: dict[str, Any]) -> dict[str, Any]:
    sock = options.get("sock")
    return {**options, "backlog": sock.backlog} if isinstance(sock, AppListener) else options


def run_main(
    app: Callable[..., Any],
    listeners: list[Listener],
    config: Config,
    line: Line,
    leave: Leave,
    log: logging.Logger,
    hooks: ForkHooks,
) -> None:
    """Call ``main`` and return when it is over. Raises AppError when the call cannot be made."""
    in_loop = is_async(app)
    leave.tell(line.leaving)
    entrance = Entrance(line.row, config)
    sockets = [
        AppListener.wrap(listener, config.backlog, leave, line, entrance, in_loop)
        for listener in listeners
    ]
    if config.ready.word == "manual":
        current.on_ready(line.ready)
    else:
        line.ready()
    if in_loop:
        with asyncio.Runner(loop_factory=Loop) as runner:
            hooks.run(runner, _run_async(app, sockets, line, leave))
    else:
        hooks.keep_connections()
        hooks.call(entrance.forget)
        app(*sockets)
        if fork_hooks.in_child:
            fork_hooks.leave()
    if not leave.stopping:
        raise AppError("main(listener) returned although nobody asked it to leave")
    log.debug("main(listener) returned")


async def _run_async(
    app: Callable[..., Any], sockets: list[AppListener], line: Line, leave: Leave
) -> None:
    loop = asyncio.get_running_loop()
    leave.watch(loop)
    beat = loop.create_task(_beat(line))
    main = loop.create_task(app(*sockets))
    stopping = asyncio.ensure_future(_await(leave.stopping))
    await asyncio.wait({main, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not main.done() and not leave.stopping.asked:
        # Turns for main to take a connection that was accepted before; no more are.
        for _ in range(2):
            await asyncio.sleep(0)
        main.cancel()
    try:
        await main
    except asyncio.CancelledError:
        pass
    finally:
        stopping.cancel()
    ours = {beat, stopping, asyncio.current_task()}
    if rest := {task for task in asyncio.all_tasks() if task not in ours}:
        await asyncio.wait(rest)
    beat.cancel()


async def _await(stopping: current.Stopping) -> None:
    await stopping


async def _beat(line: Line) -> None:
    while True:
        if line.is_ready:
            line.beat()
        await asyncio.sleep(BEAT)
