"""How a worker is told to go.

The stop signal means: drain. SIGQUIT means: now. The end of the life pipe, or the parent-death
signal, means that the master died: drain, and keep the kill timeout without it. All other signals
that an operator sends to a whole process group are the master's business: here they have handlers
that do nothing. SIG_IGN would be inherited by every program that the app starts (execve(2)); a
handler is not.
"""

import os
import signal
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING

from prefork.unix.process import set_parent_death_signal
from prefork.worker.app_api import Stopping

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
"""What an operator sends to a whole group, and a worker does not heed."""


def _ignore_signal(_signum: int, _frame: FrameType | None) -> None:
    """The master does what this signal asks for."""


class Shutdown:
    """Installed before the app is loaded; ``stopping`` happens when the worker is to go."""

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
        """When the worker was told to go (monotonic)."""
        self._on_stop: Callable[[], None] = lambda: None
        self._signal = signal.Signals[stop_signal]
        self._kill_timeout = kill_timeout
        self._life_fd = life_fd
        self._master_pid = master_pid
        self._worker_pid = os.getpid()

    def ignore_group_signals(self) -> None:
        """While the app loads: the stop signal simply ends us."""
        signal.signal(self._signal, signal.SIG_DFL)
        for signum in GROUP_SIGNALS:
            if signum != self._signal:
                signal.signal(signum, _ignore_signal)
                # The kernel restarts what it interrupts in C code, which may not expect EINTR.
                signal.siginterrupt(signum, False)

    def request_death_signal(self) -> bool:
        """Get the stop signal when the master dies; False: it is dead already."""
        return set_parent_death_signal(self._signal, self._master_pid)

    def handle_stop_signals(self, on_quit: Callable[[], None]) -> None:
        """From now on the stop signal means drain; ``on_quit`` is called before a quick end."""

        def quit_now(_signum: int, _frame: FrameType | None) -> None:
            on_quit()
            os._exit(0)

        signal.signal(self._signal, self._handle_stop_signal)
        signal.signal(signal.SIGQUIT, quit_now)

    def call_at_stop(self, on_stop: Callable[[], None]) -> None:
        """Call it, perhaps in a signal handler, when ``stopping`` happens; now, if it has already:
        an app may take its time to start up, and the signal does not wait for it."""
        self._on_stop = on_stop
        if self.stopping:
            on_stop()

    def watch_life_pipe(self, loop: "asyncio.AbstractEventLoop") -> None:
        """Notice the death of the master in the loop, too."""

        def closed() -> None:
            loop.remove_reader(self._life_fd)
            self._begin()

        loop.add_reader(self._life_fd, closed)

    def _handle_stop_signal(self, signum: int, _frame: FrameType | None) -> None:
        if os.getpid() == self._worker_pid:
            self._begin()
        else:
            # A child whose own handler, the app's, calls the one that it found.
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    def _begin(self) -> None:
        if os.getppid() != self._master_pid and not self.is_orphaned:
            self.is_orphaned = True
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, self._kill_timeout)
        if not self.stopping:
            self.stopped_at = monotonic()
            self.stopping.set()
            self._on_stop()
