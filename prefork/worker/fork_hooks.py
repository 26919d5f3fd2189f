"""Keep a process that the app forks from acting as a second worker.

fork(2) copies all that makes a worker: its signal handlers, the pipes to its master and to itself,
the listeners, the connections of its clients, the scoreboard row, the event loop. A child that kept
them would answer the requests of its parent once more, and a signal for the child would stop the
worker, because handlers write to pipes that both share. So a child of a worker

* has default signal handlers before any signal can reach it: all signals are blocked from the last
  moment before the fork on;
* has /dev/null in place of each of those descriptors. It must not remove them from its event loop,
  because the loop's epoll is shared with the worker. It must not merely close them either: objects
  that it inherited would then read and write whatever file gets the same number;
* writes its statistics into memory of its own;
* ends by ``os._exit`` when the frame of the app's call is left, however it is left.

Programs that the app starts by ``subprocess`` do not pass through these hooks: no Python code runs
in them between fork and exec.

Design
------
- **``os.register_at_fork``,** so that any fork of the app is covered. Connections are found by
  their own address (getsockname(2)), so that those in the middle of a handshake are among them;
  this takes 1 ms for 500. What a plain ``main(listener)`` accepted belongs to the app and stays
  open: ``socketserver.ForkingMixIn`` answers in a child.
- **``in_child`` is a global variable of the module:** reading it costs a request 4 ns,
  ``os.getpid`` costs 70. The interfaces read it where the app's call ends.
- **A child that returns to the event loop finds nothing in its queue but its exit.** uvloop shows
  that queue to the garbage collector only. Stopping the loop instead would first do the work of
  other requests once more.
- **Signal handlers that the app installed stay,** as after any fork. Exit handlers are not run,
  since most of them are the worker's.
"""

import asyncio
import concurrent.futures
import faulthandler
import os
import signal
import sys
import traceback
from _thread import get_ident
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from gc import get_referents
from select import epoll
from typing import Any, NoReturn

from prefork.unix.descriptors import find_bound_sockets, replace_with_devnull
from prefork.worker import app_api
from prefork.worker.monitor.stack_signal import DUMP_SIGNAL

in_child = False
"""True if this process was forked by a worker."""

_OUR_MODULES = ("prefork.", "uvloop", "asyncio")
"""Modules whose signal handlers are replaced in a child."""


class ForkHooks:
    """The fork hooks of one worker. They are registered before the app is imported, so that only
    hooks of Python's own modules run between them and the fork."""

    def __init__(self, before: Callable[[], None], after: Callable[[], None]) -> None:
        """Make the hooks; they act only after ``register``. ``before``, ``after``: called in the
        worker around each fork."""
        self._pause = before
        self._resume = after
        self._masks: dict[int, set[Any]] = {}
        """The signal mask before the fork, by the thread that forks."""
        self._descriptors: list[Callable[[], Iterable[int]]] = []
        self._addresses: list[Any] = []
        self._keep_connections = False
        self._calls: list[Callable[[], None]] = []

    def register(self) -> None:
        """Run the hooks at each fork of this process from now on."""
        os.register_at_fork(
            before=self._before,
            after_in_parent=self._after_in_worker,
            after_in_child=self._after_in_child,
        )

    def replace_descriptors(self, descriptors: Callable[[], Iterable[int]]) -> None:
        """Put /dev/null in place of these descriptors in a child. The function is called at the
        fork, since a descriptor that was closed before may be a file of the app by then."""
        self._descriptors.append(descriptors)

    def replace_sockets(self, addresses: Iterable[Any]) -> None:
        """Put /dev/null in place of all listeners and connections with one of these addresses
        (getsockname(2))."""
        self._addresses += addresses

    def keep_connections(self) -> None:
        """Replace listeners only: a main accepts by itself and may fork for each connection, as
        ``socketserver.ForkingMixIn`` does."""
        self._keep_connections = True

    def call_in_child(self, act: Callable[[], None]) -> None:
        """Call ``act`` in a child, while all signals are blocked."""
        self._calls.append(act)

    def run_loop(self, runner: asyncio.Runner, main: Coroutine[Any, Any, None]) -> None:
        """Run the event loop of the worker. A child ends as soon as it returns to the loop."""
        loop = runner.get_loop()
        self._calls.append(lambda: _make_loop_exit(loop))
        try:
            runner.run(main)
        except BaseException as error:
            if in_child:
                exit_child(error)
            raise

    # Around the fork.

    def _before(self) -> None:
        self._masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        if not in_child:
            self._pause()

    def _after_in_worker(self) -> None:
        if not in_child:
            self._resume()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.pop(get_ident()))

    def _after_in_child(self) -> None:
        global in_child  # noqa: PLW0603 - see the module's docstring
        try:
            if not in_child:  # else it is a child's own child, whose descriptors are its own
                in_child = True
                self._detach()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.pop(get_ident()))

    def _detach(self) -> None:
        _reset_signals()
        replace_with_devnull(fd for descriptors in self._descriptors for fd in descriptors())
        replace_with_devnull(
            find_bound_sockets(self._addresses, listening_only=self._keep_connections)
        )
        app_api.forget_worker()
        for act in self._calls:
            act()


def exit_child(error: BaseException | None = None) -> NoReturn:
    """End a child process after the app's call. The exit code is that of a Python program that ends
    with ``error``; exit handlers are not run, as most of them are the worker's."""
    code = 1
    try:
        code = _exit_code(error)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _exit_code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
        return 1
    traceback.print_exception(error)
    return 1


def _reset_signals() -> None:
    """Reset signal handlers to those of a Python program, except for handlers that the app
    installed."""
    signal.set_wakeup_fd(-1)
    faulthandler.unregister(DUMP_SIGNAL)
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        handler = signal.getsignal(signum)
        module = getattr(handler, "__module__", None) if callable(handler) else None
        if module is not None and module.startswith(_OUR_MODULES):
            default = signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL
            signal.signal(signum, default)


def _make_loop_exit(loop: asyncio.AbstractEventLoop) -> None:
    """Make the loop of a child run nothing but the exit. Stopping it would first do all that is
    due: the work of other requests, once more. uvloop shows its queue to the garbage collector
    only."""
    backend = getattr(loop, "_get_backend_id", None)
    if backend is not None:
        with epoll() as empty:
            os.dup2(empty.fileno(), backend(), inheritable=False)
    for each in get_referents(loop):
        if type(each) is deque:
            each.clear()
    loop.call_soon(_exit_from_loop, loop)
    # An executor's thread reports the end of a call by this method.
    loop.call_soon_threadsafe = _exit_from_callback  # type: ignore[assignment]


def _exit_from_loop(loop: asyncio.AbstractEventLoop) -> NoReturn:
    """End the child. The loop holds the SystemExit that a task of the app has just raised."""
    exit_child(next((each for each in get_referents(loop) if isinstance(each, SystemExit)), None))


def _exit_from_callback(*arguments: Any, **_options: Any) -> NoReturn:
    """End the child when a thread of an executor reports back to the loop. An error comes as an
    argument (anyio) or in a future (asyncio)."""
    futures = [each for each in arguments if isinstance(each, concurrent.futures.Future)]
    errors = [each.exception() for each in futures if each.done()]
    errors += [each for each in arguments if isinstance(each, BaseException)]
    exit_child(next(iter(errors), None))
