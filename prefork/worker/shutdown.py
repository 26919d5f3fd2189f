"""How a worker is asked to stop: its signals, and the death of its master.

The stop signal asks for a drain, SIGQUIT for an immediate exit. The end of the life pipe, or the
parent-death signal, means that the master died: the worker drains and measures the kill timeout
itself.

Design
------
- **A worker neither ignores nor blocks a signal.** Programs inherit both across exec (execve(2)),
  and ``subprocess`` runs no Python code in between that could undo it. The other signals that an
  operator sends to a whole process group, for the master, have handlers that do nothing, with
  SA_RESTART for the sake of C code.
- **Handlers run on faulthandler's signal stack,** and signals that come at once run on top of each
  other. With seven of them a worker died of SIGSEGV, so it gets a stack with room for all
  (unix/signals.py).
"""

import os
import signal
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING

from prefork.unix.process import set_parent_death_signal
from prefork.worker.app_api import Stopping
from prefork.worker.end_signal import END_SIGNAL

if TYPE_CHECKING:
    import asyncio

GROUP_SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGWINCH,
)
"""Signals that an operator sends to the whole process group for the master."""


def _ignore_signal(_signum: int, _frame: FrameType | None) -> None:
    """Do nothing: the master does what this signal asks for."""


def _do_nothing() -> None:
    """Do nothing at a stop, until the worker serves."""


class Shutdown:
    """The stop of one worker. Made before the app is imported; sets ``stopping`` when the worker is
    asked to stop."""

    def __init__(
        self,
        stopping: Stopping,
        stop_signal: str,
        kill_timeout: float,
        life_fd: int,
        master_pid: int,
    ) -> None:
        self.stopping = stopping
        self.is_orphaned = False
        self.stopped_at = 0.0
        """When the worker was asked to stop (monotonic)."""
        self._on_stop: Callable[[], None] = _do_nothing
        self._on_announced_end: Callable[[], None] = _do_nothing
        self._signal = signal.Signals[stop_signal]
        self._kill_timeout = kill_timeout
        self._life_fd = life_fd
        self._master_pid = master_pid
        self._worker_pid = os.getpid()

    def ignore_group_signals(self) -> None:
        """Handle signals for the time of the import: the stop signal ends the process, and signals
        for the master do nothing."""
        signal.signal(self._signal, signal.SIG_DFL)
        for signum in GROUP_SIGNALS:
            if signum != self._signal:
                signal.signal(signum, _ignore_signal)
                # The kernel restarts system calls of C code, which may not expect EINTR.
                signal.siginterrupt(signum, False)

    def request_death_signal(self) -> bool:
        """Ask the kernel for the stop signal when the master dies. Returns False if it is dead
        already."""
        return set_parent_death_signal(self._signal, self._master_pid)

    def handle_stop_signals(self, on_quit: Callable[[], None]) -> None:
        """Drain at the stop signal from now on; ``on_quit`` is called before an immediate exit."""

        def quit_now(_signum: int, _frame: FrameType | None) -> None:
            on_quit()
            os._exit(0)

        signal.signal(self._signal, self._handle_stop_signal)
        signal.signal(signal.SIGQUIT, quit_now)
        signal.signal(END_SIGNAL, lambda _signum, _frame: self._on_announced_end())
        signal.siginterrupt(END_SIGNAL, False)

    def call_at_stop(self, on_stop: Callable[[], None]) -> None:
        """Call ``on_stop``, perhaps in a signal handler, when the worker is asked to stop; at once,
        if it was already: an app may take its time to start up, and the signal does not wait for
        it."""
        self._on_stop = on_stop
        if self.stopping:
            on_stop()

    def call_at_announced_end(self, on_announced_end: Callable[[], None]) -> None:
        """Call ``on_announced_end`` in a signal handler when the service will end, but the worker
        is to go on serving (``--stop-delay``)."""
        self._on_announced_end = on_announced_end

    def watch_life_pipe(self, loop: "asyncio.AbstractEventLoop") -> None:
        """Notice the death of the master in the event loop as well: the life pipe ends."""

        def closed() -> None:
            loop.remove_reader(self._life_fd)
            self._begin()

        loop.add_reader(self._life_fd, closed)

    def _handle_stop_signal(self, signum: int, _frame: FrameType | None) -> None:
        if os.getpid() == self._worker_pid:
            self._begin()
        else:
            # A process that the app forked, whose own handler calls the handler that it replaced.
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    def _begin(self) -> None:
        """Set ``stopping``. If the master has died, end the process after the kill timeout."""
        if os.getppid() != self._master_pid and not self.is_orphaned:
            self.is_orphaned = True
            # No master measures the kill timeout any more: SIGALRM ends the process.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, self._kill_timeout)
        if not self.stopping:
            self.stopped_at = monotonic()
            self.stopping.set()
            self._on_stop()
