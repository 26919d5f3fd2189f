"""Wait at the end of a worker for work under ``prefork.busy()`` and for threads of the app.

Python waits at its exit for threads that are no daemons: an app's own threads, its timers, and the
threads of executors (``threading._shutdown``, before atexit). A worker that was asked to stop does
the same.

Design
------
- **A worker that was asked to stop waits for its threads,** as any Python process does; the kill
  timeout bounds it. A worker that failed, or was never ready, does not wait: a boot failure would
  be reported a minute late. Threads of ``--threads`` are no daemons for this reason, because
  threads that an app starts in them would inherit that. A quick stop waits for nothing.
- **A worker that waits only for this says so to the master,** and then does not count against
  ``surge``: a roll over four workers with an endless thread would take four kill timeouts. Beyond
  one for each slot they count, else reloads that follow each other would fill the memory.
"""

import asyncio
import logging
import sys
import threading
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from concurrent.futures.thread import _threads_queues

from prefork.worker.busy import BusyWork
from prefork.worker.master_channel import MasterChannel
from prefork.worker.monitor.stack_report import extract_app_stack, format_app_frame

LOG_DELAY = 0.2
"""Seconds until the log says what the worker waits for: idle threads of an executor end sooner."""

MAX_NAMED = 10
"""Threads and pieces of work that the log line names, at most."""


class BackgroundWork:
    """Waits for the background work of one worker, in its main thread."""

    def __init__(
        self,
        label: str,
        log: logging.Logger,
        channel: MasterChannel,
        busy: BusyWork,
        kill_timeout: float,
        resign: Callable[[], None],
    ) -> None:
        """``resign``: ends the leadership of the worker; what its callbacks still do then counts as
        busy work."""
        self._resign = resign
        self._label = label
        self._log = log
        self._channel = channel
        self._busy = busy
        self._kill_timeout = kill_timeout
        self._is_reported = False

    async def wait_for_busy_work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait in the event loop until all work under ``prefork.busy()`` has ended."""
        self._resign()
        self.report()
        if self._busy.count:
            done = loop.create_future()

            def finish() -> None:
                loop.call_soon_threadsafe(done.set_result, None)

            self._busy.call_when_idle(finish)
            await done

    def wait(self) -> None:
        """Block until all busy work and all threads that Python waits for have ended."""
        self._resign()
        self.report()
        self._busy.wait()
        threading._shutdown()  # type: ignore[attr-defined]

    def report(self) -> None:
        """Report to the master, and a moment later to the log, that only background work keeps the
        worker. Does nothing if there is none."""
        if self._is_reported or not (self._busy.count or self._threads()):
            return
        self._is_reported = True
        self._channel.report_waiting("threads and work of the app")
        try:
            start_new_thread(self._log_later, ())
        except RuntimeError:  # the limit of processes is reached
            self._log_waiting()

    def _log_later(self) -> None:
        delay = allocate_lock()
        delay.acquire()
        delay.acquire(timeout=LOG_DELAY)
        self._log_waiting()

    def _log_waiting(self) -> None:
        frames = sys._current_frames()
        waited_for = []
        for thread in self._threads():
            frame = frames.get(thread.ident or 0)  # a green thread has none
            waited_for.append(
                f"{thread.name} ({format_app_frame([extract_app_stack(frame)])})"
                if frame
                else thread.name
            )
        if self._busy.count:
            waited_for.insert(0, f"{self._busy.count} x prefork.busy()")
        if len(waited_for) > MAX_NAMED:
            waited_for[MAX_NAMED:] = [f"and {len(waited_for) - MAX_NAMED} more"]
        if waited_for:
            self._log.info(
                "%s answered all requests and waits up to the kill timeout (%gs) for: %s",
                self._label,
                self._kill_timeout,
                ", ".join(waited_for),
            )

    @staticmethod
    def _threads() -> list[threading.Thread]:
        """Return the threads that Python waits for: those that are no daemons, and threads of
        executors even if they are daemons."""
        main = threading.main_thread()
        alive = [each for each in threading.enumerate() if each is not main]
        return [each for each in alive if not each.daemon or each in _threads_queues]
