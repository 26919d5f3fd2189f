"""A thread that carries out the orders of the master, also when the worker is busy or hangs.

The thread sleeps until an order comes on the order pipe (wire/worker_orders.py). When the worker's
deadline has passed, the master asks what it is doing: the thread writes the requests to the log,
then the stacks of all threads, and says so on the ready pipe. It also tells the worker that it
leads, and that it does not any more because it was asked to stop (worker/leadership.py). Only code
that keeps the interpreter to itself (a regular expression, a C extension) silences it. Then the
master sends DUMP_SIGNAL, and faulthandler's own handler writes the bare stacks. With ``--slow-log``
the thread also checks the loop at an interval (slow_log.py).

Design
------
- **A thread, not a signal handler.** A handler in Python runs when the main thread comes back to
  the interpreter, and one that waits in a database driver does not. The thread costs 50 KB and
  nothing per request, interrupts no system call, and can take locks and read sources.
- **A pipe, not a real-time signal** that all other threads block: programs that the app starts
  inherit which signals are blocked.
- **Started before the app is imported, and not by ``threading``:** no patched module touches it,
  and no app counts it.
- **A hung worker is killed when it has reported, not after a fixed time.** A long report is whole,
  a short one costs no wait. Its slot was given to a new worker before.
- **The thread is ended before a fork and started again after it** (0.1 ms). Python 3.12 warns of a
  fork in a process with threads, and a lock that a thread holds stays locked in the child.
"""

import asyncio
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
from prefork.wire.worker_orders import LEAD, REPORT_STACKS
from prefork.worker.app_api import WorkerInfo
from prefork.worker.monitor.stack_report import (
    Frames,
    RequestStacks,
    call_duration,
    describe,
    extract_app_stack,
    find_running_requests,
    follow_task,
    format_app_frame,
    format_stacks,
    inspect_waiting_request,
)

MAX_REPORTED = 20
"""Requests that a report names."""

STOP_TIMEOUT = 1.0
"""Seconds that a fork waits for the end of the thread, which may be in the middle of a report."""


class Watchdog:
    """The watchdog of one worker. Must be made in the main thread.

    ``service`` is set when the worker serves HTTP. ``check`` is called at each interval.
    ``is_booting``: whether the worker is not ready yet. ``find_lifespan``: returns the task of a
    lifespan that has not answered its last event; None: there is none.
    ``on_lead``: called when the worker is to lead. ``on_stop``: called when ``stop_fd`` is
    readable, because the worker was asked to stop.
    """

    service: ServerState | None = None

    def __init__(
        self,
        info: WorkerInfo,
        log: logging.Logger,
        report_to_master: Callable[[str], None],
        interval: float | None,
        order_fd: int,
    ) -> None:
        """``report_to_master``: called with one line when a report is written. ``interval``:
        seconds between two calls of ``check``; None: no checks. ``order_fd``: the read end of the
        order pipe."""
        self._worker_name = f"worker {info.slot}"
        self._log = log
        self._report_to_master = report_to_master
        self._interval = interval
        self.main = get_ident()
        self.check: Callable[[], None]
        self.stop_checks()
        self._order_fd = order_fd
        self.stop_fd = -1
        self.on_lead: Callable[[], None] = lambda: None
        self.on_stop: Callable[[], None] = lambda: None
        self.is_booting: Callable[[], bool] = lambda: False
        self.find_lifespan: Callable[[], asyncio.Task[None] | None] = lambda: None
        self._running_lock = allocate_lock()
        self._native_id = 0
        self._pause_count = 0
        self._end_reader, self._end_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def start(self) -> None:
        """Start the thread and wait until it sleeps. Raises MachineError.

        The wait is for faulthandler: it reads the stacks of threads that run on meanwhile, and one
        that has just begun may make it crash.
        """
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
        """End the thread before a fork. Pauses add up, because several threads may
        fork at a time."""
        self._pause_count += 1
        if self._pause_count > 1 or not self._running_lock.locked():
            return
        os.write(self._end_writer, b".")
        if self._running_lock.acquire(timeout=STOP_TIMEOUT):
            self._running_lock.release()
            # The thread's last instructions run after it has released the lock; only the kernel
            # knows that it has ended.
            until = monotonic() + STOP_TIMEOUT
            while os.path.exists(f"/proc/self/task/{self._native_id}") and monotonic() < until:
                os.sched_yield()

    def resume(self) -> None:
        """Start the thread again after a fork, in the worker."""
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
        """Return the descriptors that a process which the app forks must not keep."""
        return self._order_fd, self._end_reader, self._end_writer

    def stop_checks(self) -> None:
        """Call nothing at the intervals any more."""
        self.check = lambda: None

    def _run(self, on_ready: Callable[[], None]) -> None:
        """Run the thread until a pause."""
        try:
            # All signals are blocked, so the kernel delivers them to another thread. The app
            # starts no program here, which would inherit that.
            signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
            self._native_id = get_native_id()
            self._poll_pipes(on_ready)
        finally:
            self._running_lock.release()

    def _poll_pipes(self, on_ready: Callable[[], None]) -> None:
        """Wait for orders, for the stop and for a pause; check at each interval."""
        poller = poll()
        watched = (self._order_fd, self.stop_fd, self._end_reader)
        for fd in (each for each in watched if each >= 0):
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
                if self.stop_fd in readable:
                    poller.unregister(self.stop_fd)  # it stays readable
                    self.on_stop()
                if self._order_fd in readable and not self._carry_out_orders():
                    poller.unregister(self._order_fd)  # the master is dead
            except Exception:
                self._log.exception("this is a bug in prefork, please report it")

    def _carry_out_orders(self) -> bool:
        """Do what the master orders; return False at the end of the pipe."""
        orders = self._read_pipe(self._order_fd)
        if LEAD in orders:
            self.on_lead()
        if REPORT_STACKS in orders:
            self._write_report()
        return bool(orders)

    @staticmethod
    def _read_pipe(fd: int) -> bytes:
        """Return the bytes in the pipe; none at its end."""
        try:
            return os.read(fd, 4096)
        except BlockingIOError:
            return b""

    def _write_report(self) -> None:
        """Log the requests and all stacks, and send the first line to the master."""
        threads = sys._current_frames()
        del threads[get_ident()]
        requests = self._collect_requests(threads)
        lifespan = [] if requests else self._follow_lifespan()
        summary = self._summarize(requests, lifespan, threads[self.main])
        lines = [f"{self._worker_name} is stuck: {summary}"]
        lines += [f"  and {_describe_request(request)}" for request in requests[1:MAX_REPORTED]]
        if len(requests) > MAX_REPORTED:
            lines.append(f"  and {len(requests) - MAX_REPORTED} more")
        if requests and requests[0].thread is None and requests[0].stacks:
            lines += ["where it waits:", format_stacks(requests[0].stacks)]
        if lifespan:
            lines += ["where its lifespan waits:", format_stacks(lifespan)]
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, innermost in threads.items():
            name = "MainThread" if ident == self.main else names.get(ident, "unnamed")
            lines += [
                f"thread 0x{ident:x} ({name}):",
                format_stacks([extract_app_stack(innermost)]),
            ]
        self._log.error("%s", "\n".join(lines))
        self._report_to_master(summary)

    def _follow_lifespan(self) -> list[Frames]:
        """Return where a lifespan waits that has not answered; empty: none waits. One that blocks
        the loop is on the stack of the main thread."""
        task = self.find_lifespan()
        if task is None or getattr(task.get_coro(), "cr_running", False):
            return []
        return follow_task(task)

    def _summarize(
        self, requests: list[RequestStacks], lifespan: list[Frames], main: FrameType
    ) -> str:
        """Return the most suspicious request, and where the main thread is, in a line.

        ``lifespan``: where the lifespan waits instead.
        """
        place = format_app_frame(lifespan or [extract_app_stack(main)])
        if not requests and self.is_booting():
            return f"it is at {place}"
        if lifespan:
            return f"its lifespan shutdown waits at {place}"
        summary = _describe_request(requests[0]) if requests else "no request that is known"
        if not requests or requests[0].thread is None:
            summary += f"; its main thread is at {place}"
        return summary

    def _collect_requests(self, threads: Mapping[int, FrameType]) -> list[RequestStacks]:
        """Return the requests without an answer and those that threads run; the most suspicious
        first. While the worker drains, also those whose answer has begun: they are cut, too."""
        requests = find_running_requests(threads)
        service = self.service
        for connection in list(service.connections) if service is not None else ():
            for exchange in connection.in_flight():
                is_open = (service is not None and service.draining) or not exchange.status
                if is_open and exchange not in requests:
                    requests[exchange] = inspect_waiting_request(exchange)

        def order(request: RequestStacks) -> tuple[bool, bool, float]:
            blocks = request.thread == self.main
            return not blocks, not request.exchange.is_overdue, -call_duration(request.exchange)

        return sorted(requests.values(), key=order)


def _describe_request(request: RequestStacks) -> str:
    """Return one request in a line: method, target, client, age, and where it is now."""
    exchange = request.exchange
    text = f"{describe(exchange)} for {call_duration(exchange):.1f}s"
    if request.stacks:
        text += (
            f", {'waits ' if request.thread is None else ''}at {format_app_frame(request.stacks)}"
        )
    elif exchange.is_queued:
        text += ", waits for a thread"
    elif exchange.status:
        text += f", answered {exchange.status}, and its client has not taken all of it"
    return text
