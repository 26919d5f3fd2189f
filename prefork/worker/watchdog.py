"""A thread that tells what the worker is at when the worker itself cannot.

It sleeps until the master asks, when the deadline has passed, with a signal that all other threads
block: so it hears it also while the main thread is deep in a database driver, and no system call of
anybody's is interrupted. It writes the requests, then the stacks of all threads, and says so on
the ready pipe. Only code that keeps the interpreter to itself silences it; then the master sends
DUMP_SIGNAL, and faulthandler's own handler writes the bare stacks.

Started before the app is imported, and not by ``threading``: nothing that an app patches or counts
touches it. With --slow-log it also looks around by itself (slow.py).
"""

import _thread
import logging
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from types import FrameType

from prefork.http.service import Service
from prefork.worker.current import WorkerInfo
from prefork.worker.signals import ASK_SIGNAL
from prefork.worker.witness import Work, age, at, drawn, running, stack_of, told, waiting

MOST_TOLD = 20
"""Requests."""


class Watchdog:
    """Made in the main thread. ``service`` and ``look`` are set once there is something to see."""

    service: Service | None = None

    def __init__(
        self,
        info: WorkerInfo,
        log: logging.Logger,
        tell: Callable[[str], None],
        period: float | None,
    ) -> None:
        """``tell`` the master what the worker was at; ``period``: seconds between two looks."""
        self._who = f"worker {info.slot}"
        self._log = log
        self._tell = tell
        self._period = period
        self.main = _thread.get_ident()
        self.look: Callable[[], None]
        self.rest()

    def start(self) -> None:
        """While ASK_SIGNAL is still blocked, as all other threads are to block it."""
        _thread.start_new_thread(self._watch, ())

    def rest(self) -> None:
        """There is nothing to look at any more."""
        self.look = lambda: None

    def _watch(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        while True:
            try:
                if self._asked():
                    self._report()
                else:
                    self.look()
            except Exception:
                self._log.exception("this is a bug in prefork, please report it")

    def _asked(self) -> bool:
        """Sleep until the master wants to know; False: it is time for a look."""
        if self._period is None:
            signal.sigwaitinfo((ASK_SIGNAL,))
            return True
        return signal.sigtimedwait((ASK_SIGNAL,), self._period) is not None

    def _report(self) -> None:
        threads = sys._current_frames()
        del threads[_thread.get_ident()]
        works = self._works(threads)
        what = _line(works[0]) if works else "no request that is known"
        if not works or works[0].thread is None:
            what += f"; its main thread is at {at([stack_of(threads[self.main])])}"
        lines = [f"{self._who} is stuck: {what}"]
        lines += [f"  and {_line(work)}" for work in works[1:MOST_TOLD]]
        if len(works) > MOST_TOLD:
            lines.append(f"  and {len(works) - MOST_TOLD} more")
        if works and works[0].thread is None and works[0].stacks:
            lines += ["where it waits:", drawn(works[0].stacks)]
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, innermost in threads.items():
            name = "MainThread" if ident == self.main else names.get(ident, "unnamed")
            lines += [f"thread 0x{ident:x} ({name}):", drawn([stack_of(innermost)])]
        self._log.error("%s", "\n".join(lines))
        self._tell(what)

    def _works(self, threads: Mapping[int, FrameType]) -> list[Work]:
        """All requests without an answer, and those that are being run; the culprit first."""
        works = running(threads)
        for connection in list(self.service.connections) if self.service is not None else ():
            exchange = connection.current
            if exchange is not None and exchange not in works and not exchange.status:
                works[exchange] = waiting(exchange)

        def guilt(work: Work) -> tuple[bool, bool, float]:
            blocks = work.thread == self.main
            return not blocks, not work.exchange.overdue, -age(work.exchange)

        return sorted(works.values(), key=guilt)


def _line(work: Work) -> str:
    """One request: what, whose, since when, and where it is now."""
    exchange = work.exchange
    text = f"{told(exchange)} for {age(exchange):.1f}s"
    if work.stacks:
        text += f", {'waits ' if work.thread is None else ''}at {at(work.stacks)}"
    elif exchange.queued:
        text += ", waits for a thread"
    return text
