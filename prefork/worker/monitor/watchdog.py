"""A thread that tells what the worker is at when the worker itself cannot.

It sleeps until the master asks on a pipe, when the deadline has passed: so it hears that also while
the main thread is deep in a database driver, and no system call of the app is interrupted. (A
real-time signal that all other threads block would do as well, but programs that the app starts
inherit what is blocked.) It writes the requests, then the stacks of all threads, and says so on
the ready pipe. Only code that keeps the interpreter to itself silences it; then the master sends
DUMP_SIGNAL, and faulthandler's own handler writes the bare stacks.

Started before the app is imported, and not by ``threading``: nothing that an app patches or counts
touches it. With --slow-log it also looks around by itself (slow_log.py). While the app forks there
is
no such thread: Python 3.12 warns of a fork in a process with threads, and what a thread has locked
at that moment stays locked in the child.
"""

import logging
import os
import signal
import sys
import threading
from _thread import allocate_lock, get_ident, get_native_id, start_new_thread
from collections.abc import Callable, Mapping
from select import POLLIN, poll
from time import monotonic
from types import FrameType

from prefork.errors import MachineError
from prefork.http.server_state import ServerState
from prefork.worker.app_api import WorkerInfo
from prefork.worker.monitor.stack_report import (
    RequestStacks,
    call_duration,
    describe,
    extract_app_stack,
    find_running_requests,
    format_app_frame,
    format_stacks,
    inspect_waiting_request,
)

MOST_TOLD = 20
"""Requests."""

PATIENCE = 1.0
"""Seconds that a fork waits for the end of the thread, which may be in the middle of a report."""


class Watchdog:
    """Made in the main thread. ``service`` and ``look`` are set once there is something to see."""

    service: ServerState | None = None

    def __init__(
        self,
        info: WorkerInfo,
        log: logging.Logger,
        tell: Callable[[str], None],
        period: float | None,
        ask_fd: int,
    ) -> None:
        """``tell`` the master what the worker was at; ``period``: seconds between two looks;
        ``ask_fd``: readable when the master asks."""
        self._who = f"worker {info.slot}"
        self._log = log
        self._tell = tell
        self._period = period
        self.main = get_ident()
        self.check: Callable[[], None]
        self.stop_checks()
        self._ask_fd = ask_fd
        self._ended = allocate_lock()
        self._native = 0
        self._pauses = 0
        self._end_reader, self._end_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def start(self) -> None:
        """Start the thread, and wait until it sleeps: faulthandler reads the stacks of threads that
        run on meanwhile, and one that has just begun may make it crash. Raises MachineError."""
        sleeps = allocate_lock()
        sleeps.acquire()
        self._ended.acquire()
        try:
            start_new_thread(self._run, (sleeps.release,))
        except RuntimeError as error:
            self._ended.release()
            raise MachineError(f"cannot start the watchdog's thread: {error}") from error
        sleeps.acquire()

    def pause(self) -> None:
        """Before a fork: end the thread. Pauses add up, as several threads may fork at a time."""
        self._pauses += 1
        if self._pauses > 1 or not self._ended.locked():
            return
        os.write(self._end_writer, b".")
        if self._ended.acquire(timeout=PATIENCE):
            self._ended.release()
            # Its last instructions are outside of the interpreter.
            until = monotonic() + PATIENCE
            while os.path.exists(f"/proc/self/task/{self._native}") and monotonic() < until:
                os.sched_yield()

    def resume(self) -> None:
        """After a fork, in the worker."""
        self._pauses -= 1
        if self._pauses == 0 and not self._ended.locked():
            self._drain(self._end_reader)
            try:
                self.start()
            except MachineError as error:
                self._log.warning("%s: no stacks will be shown if it hangs; %s", self._who, error)

    def descriptors(self) -> tuple[int, ...]:
        """Those that a process which the app forks must not keep."""
        return self._ask_fd, self._end_reader, self._end_writer

    def stop_checks(self) -> None:
        """There is nothing to look at any more."""
        self.check = lambda: None

    def _run(self, on_ready: Callable[[], None]) -> None:
        try:
            # What comes for the process is for another thread; the app starts nothing here.
            signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
            self._native = get_native_id()
            self._watch(on_ready)
        finally:
            self._ended.release()

    def _watch(self, on_ready: Callable[[], None]) -> None:
        poller = poll()
        for fd in (self._ask_fd, self._end_reader):
            poller.register(fd, POLLIN)
        period = None if self._period is None else self._period * 1000
        on_ready()
        while True:
            heard = [fd for fd, _ in poller.poll(period)]
            if self._end_reader in heard:
                return
            try:
                if not heard:
                    self.check()
                elif self._drain(self._ask_fd):
                    self._report()
                else:
                    poller.unregister(self._ask_fd)  # the master is dead
            except Exception:
                self._log.exception("this is a bug in prefork, please report it")

    @staticmethod
    def _drain(fd: int) -> bytes:
        """The bytes in the pipe; none at its end."""
        try:
            return os.read(fd, 4096)
        except BlockingIOError:
            return b""

    def _report(self) -> None:
        threads = sys._current_frames()
        del threads[get_ident()]
        works = self._works(threads)
        what = _line(works[0]) if works else "no request that is known"
        if not works or works[0].thread is None:
            what += (
                f"; its main thread is at "
                f"{format_app_frame([extract_app_stack(threads[self.main])])}"
            )
        lines = [f"{self._who} is stuck: {what}"]
        lines += [f"  and {_line(work)}" for work in works[1:MOST_TOLD]]
        if len(works) > MOST_TOLD:
            lines.append(f"  and {len(works) - MOST_TOLD} more")
        if works and works[0].thread is None and works[0].stacks:
            lines += ["where it waits:", format_stacks(works[0].stacks)]
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, innermost in threads.items():
            name = "MainThread" if ident == self.main else names.get(ident, "unnamed")
            lines += [
                f"thread 0x{ident:x} ({name}):",
                format_stacks([extract_app_stack(innermost)]),
            ]
        self._log.error("%s", "\n".join(lines))
        self._tell(what)

    def _works(self, threads: Mapping[int, FrameType]) -> list[RequestStacks]:
        """All requests without an answer, and those that are being run; the culprit first."""
        works = find_running_requests(threads)
        for connection in list(self.service.connections) if self.service is not None else ():
            exchange = connection.current
            if exchange is not None and exchange not in works and not exchange.status:
                works[exchange] = inspect_waiting_request(exchange)

        def guilt(work: RequestStacks) -> tuple[bool, bool, float]:
            blocks = work.thread == self.main
            return not blocks, not work.exchange.is_overdue, -call_duration(work.exchange)

        return sorted(works.values(), key=guilt)


def _line(work: RequestStacks) -> str:
    """One request: what, whose, since when, and where it is now."""
    exchange = work.exchange
    text = f"{describe(exchange)} for {call_duration(exchange):.1f}s"
    if work.stacks:
        text += f", {'waits ' if work.thread is None else ''}at {format_app_frame(work.stacks)}"
    elif exchange.is_queued:
        text += ", waits for a thread"
    return text
