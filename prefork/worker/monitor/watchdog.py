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

MAX_REPORTED = 20
"""Requests."""

STOP_TIMEOUT = 1.0
"""Seconds that a fork waits for the end of the thread, which may be in the middle of a report."""


class Watchdog:
    """Made in the main thread. ``service`` and ``look`` are set once there is something to see."""

    service: ServerState | None = None

    def __init__(
        self,
        info: WorkerInfo,
        log: logging.Logger,
        report_to_master: Callable[[str], None],
        interval: float | None,
        request_fd: int,
    ) -> None:
        """``tell`` the master what the worker was at; ``period``: seconds between two looks;
        ``ask_fd``: readable when the master asks."""
        self._worker_name = f"worker {info.slot}"
        self._log = log
        self._report_to_master = report_to_master
        self._interval = interval
        self.main = get_ident()
        self.check: Callable[[], None]
        self.stop_checks()
        self._request_fd = request_fd
        self._running_lock = allocate_lock()
        self._native_id = 0
        self._pause_count = 0
        self._end_reader, self._end_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def start(self) -> None:
        """Start the thread, and wait until it sleeps: faulthandler reads the stacks of threads that
        run on meanwhile, and one that has just begun may make it crash. Raises MachineError."""
        is_polling = allocate_lock()
        is_polling.acquire()
        self._running_lock.acquire()
        try:
            start_new_thread(self._run, (is_polling.release,))
        except RuntimeError as error:
            self._running_lock.release()
            raise MachineError(f"cannot start the watchdog's thread: {error}") from error
        is_polling.acquire()

    def pause(self) -> None:
        """Before a fork: end the thread. Pauses add up, as several threads may fork at a time."""
        self._pause_count += 1
        if self._pause_count > 1 or not self._running_lock.locked():
            return
        os.write(self._end_writer, b".")
        if self._running_lock.acquire(timeout=STOP_TIMEOUT):
            self._running_lock.release()
            # Its last instructions are outside of the interpreter.
            until = monotonic() + STOP_TIMEOUT
            while os.path.exists(f"/proc/self/task/{self._native_id}") and monotonic() < until:
                os.sched_yield()

    def resume(self) -> None:
        """After a fork, in the worker."""
        self._pause_count -= 1
        if self._pause_count == 0 and not self._running_lock.locked():
            self._read_pipe(self._end_reader)
            try:
                self.start()
            except MachineError as error:
                self._log.warning(
                    "%s: no stacks will be shown if it hangs; %s", self._worker_name, error
                )

    def descriptors(self) -> tuple[int, ...]:
        """Those that a process which the app forks must not keep."""
        return self._request_fd, self._end_reader, self._end_writer

    def stop_checks(self) -> None:
        """There is nothing to look at any more."""
        self.check = lambda: None

    def _run(self, on_ready: Callable[[], None]) -> None:
        try:
            # What comes for the process is for another thread; the app starts nothing here.
            signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
            self._native_id = get_native_id()
            self._poll_pipes(on_ready)
        finally:
            self._running_lock.release()

    def _poll_pipes(self, on_ready: Callable[[], None]) -> None:
        poller = poll()
        for fd in (self._request_fd, self._end_reader):
            poller.register(fd, POLLIN)
        interval = None if self._interval is None else self._interval * 1000
        on_ready()
        while True:
            readable = [fd for fd, _ in poller.poll(interval)]
            if self._end_reader in readable:
                return
            try:
                if not readable:
                    self.check()
                elif self._read_pipe(self._request_fd):
                    self._write_report()
                else:
                    poller.unregister(self._request_fd)  # the master is dead
            except Exception:
                self._log.exception("this is a bug in prefork, please report it")

    @staticmethod
    def _read_pipe(fd: int) -> bytes:
        """The bytes in the pipe; none at its end."""
        try:
            return os.read(fd, 4096)
        except BlockingIOError:
            return b""

    def _write_report(self) -> None:
        threads = sys._current_frames()
        del threads[get_ident()]
        requests = self._collect_requests(threads)
        summary = _describe_request(requests[0]) if requests else "no request that is known"
        if not requests or requests[0].thread is None:
            summary += (
                f"; its main thread is at "
                f"{format_app_frame([extract_app_stack(threads[self.main])])}"
            )
        lines = [f"{self._worker_name} is stuck: {summary}"]
        lines += [f"  and {_describe_request(request)}" for request in requests[1:MAX_REPORTED]]
        if len(requests) > MAX_REPORTED:
            lines.append(f"  and {len(requests) - MAX_REPORTED} more")
        if requests and requests[0].thread is None and requests[0].stacks:
            lines += ["where it waits:", format_stacks(requests[0].stacks)]
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, innermost in threads.items():
            name = "MainThread" if ident == self.main else names.get(ident, "unnamed")
            lines += [
                f"thread 0x{ident:x} ({name}):",
                format_stacks([extract_app_stack(innermost)]),
            ]
        self._log.error("%s", "\n".join(lines))
        self._report_to_master(summary)

    def _collect_requests(self, threads: Mapping[int, FrameType]) -> list[RequestStacks]:
        """All requests without an answer, and those that are being run; the culprit first."""
        requests = find_running_requests(threads)
        for connection in list(self.service.connections) if self.service is not None else ():
            exchange = connection.current
            if exchange is not None and exchange not in requests and not exchange.status:
                requests[exchange] = inspect_waiting_request(exchange)

        def suspicion(request: RequestStacks) -> tuple[bool, bool, float]:
            blocks = request.thread == self.main
            return not blocks, not request.exchange.is_overdue, -call_duration(request.exchange)

        return sorted(requests.values(), key=suspicion)


def _describe_request(request: RequestStacks) -> str:
    """One request: what, whose, since when, and where it is now."""
    exchange = request.exchange
    text = f"{describe(exchange)} for {call_duration(exchange):.1f}s"
    if request.stacks:
        text += (
            f", {'waits ' if request.thread is None else ''}at {format_app_frame(request.stacks)}"
        )
    elif exchange.is_queued:
        text += ", waits for a thread"
    return text
