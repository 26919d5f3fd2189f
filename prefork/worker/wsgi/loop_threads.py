"""A pool of threads that work for the event loop, and the queue of calls back into it.

Design
------
- **Threads are woken one at a time.** A wake costs more than a small job, and threads that are
  awake at once fight over the interpreter. If its jobs are short, one thread does all that wait. If
  it blocks in one, the loop finds in its next turn that others still wait, and wakes the next
  thread. Waking all threads that a burst could use costs three times as much CPU (21 µs a request
  instead of 10).
- **The thread that became idle last is woken first:** its stack is still in the cache.
- **A thread that cannot be started is tried again** as long as jobs wait. The kernel refuses one at
  a limit of processes (pids.max of a cgroup, or RLIMIT_NPROC). Meanwhile the pool works with the
  threads it has; the one that ``start`` starts is always there.
- **The threads are no daemons.** Threads that the app starts in them would inherit that, and be cut
  off at the worker's exit, which waits for threads that are no daemons (background_work.py).
- **Green threads are refused.** An app that gevent or eventlet has patched has one thread of the
  kernel, so a call that blocks would block all others.
"""

import asyncio
import logging
import sys
import threading
from _thread import LockType, allocate_lock, get_ident
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Protocol

from prefork.errors import MachineError, UsageError

START_RETRY_DELAY = 0.5
"""Seconds after which a thread that could not be started is tried again."""


class Job(Protocol):
    """A piece of work for a thread."""

    def run(self) -> None:
        """Do the work. Never raises."""


class ThreadPool:
    """A pool of at most ``limit`` threads, for jobs that the loop puts.

    ``start`` starts the first thread; the others start when they are needed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, log: logging.Logger) -> None:
        self._loop = loop
        self._max_threads = limit
        self._log = log
        self._lock = threading.Lock()
        self._threads: list[_Thread] = []
        self._idle: list[_Thread] = []
        self._waiting: deque[Job] = deque()
        self._dispatch_scheduled = False
        self._closed = False
        self._start_refused = False
        """The last thread could not be started, and the pause before the next try is not over."""
        self._refusal_logged = False
        self._ended: asyncio.Future[None] | None = None
        """Done when the last thread of a closed pool has ended."""

    def start(self) -> None:
        """Start the first thread. Raises MachineError: without one nothing can be served."""
        self._idle.append(self._start_thread())

    def spare_threads(self) -> int:
        """Return how many threads have nothing to do; if it is negative, how many jobs wait for
        one."""
        limit = len(self._threads) if self._start_refused else self._max_threads
        return len(self._idle) + limit - len(self._threads) - len(self._waiting)

    def put(self, job: Job) -> None:
        """Let a thread do the job, now or when one is free."""
        self._waiting.append(job)
        if not self._dispatch_scheduled:
            self._dispatch()

    def _dispatch(self) -> None:
        """Give one waiting job to a thread, and look again in the loop's next turn."""
        with self._lock:
            thread = self._take_idle_thread() if self._waiting else None
            if thread is None:
                self._dispatch_scheduled = False
                return
            job = self._waiting.popleft()
        self._dispatch_scheduled = True
        self._loop.call_soon(self._dispatch)
        thread.assign(job)

    def _take_idle_thread(self) -> "_Thread | None":
        """Return a thread without a job, started now if need be; None: there is none."""
        if self._idle:
            return self._idle.pop()
        if len(self._threads) == self._max_threads or self._start_refused:
            return None
        try:
            thread = self._start_thread()
        except MachineError as error:
            self._schedule_retry(error)
            return None
        if self._refusal_logged:
            self._refusal_logged = False
            self._log.info("threads can be started again")
        return thread

    def _start_thread(self) -> "_Thread":
        """Start one more thread. Raises MachineError when the kernel refuses it."""
        thread = _Thread(self, len(self._threads))
        try:
            thread.start()
        except RuntimeError as error:
            raise MachineError(
                f"cannot start thread {len(self._threads) + 1} of {self._max_threads}: {error}; "
                "see the limits of processes: ulimit -u, and pids.max of the cgroup"
            ) from error
        self._threads.append(thread)
        return thread

    def _schedule_retry(self, error: MachineError) -> None:
        """Work with the threads that there are, and try again later. The log tells it once."""
        self._start_refused = True
        self._loop.call_later(START_RETRY_DELAY, self._retry_start)
        if not self._refusal_logged:
            self._refusal_logged = True
            count = len(self._threads)
            self._log.error("%s; serving with %d, and trying again", error, count)

    def _retry_start(self) -> None:
        """Dispatch jobs that wait, now that a thread may be started again."""
        self._start_refused = False
        if not self._dispatch_scheduled:
            self._dispatch()

    def withdraw(self, job: Job) -> bool:
        """Take a waiting job back; False: a thread has it already."""
        with self._lock:
            if job not in self._waiting:
                return False
            self._waiting.remove(job)
            return True

    def next_job(self, thread: "_Thread") -> Job | None:
        """Return the next job for a thread that has done one; None: it is to sleep until it is
        assigned one."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._closed:
                return _STOP
            self._idle.append(thread)
            return None

    async def close(self) -> None:
        """Wait until all jobs are done, and end the threads."""
        if not self._threads:
            return
        # Not by join() in an executor, which would need one more thread.
        self._ended = self._loop.create_future()
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().assign(_STOP)
        await self._ended

    def thread_ended(self, thread: "_Thread") -> None:
        """Note the end of a thread; called by the thread itself, as its last act."""
        self._loop.call_soon_threadsafe(self._remove_thread, thread)

    def _remove_thread(self, thread: "_Thread") -> None:
        """Forget a thread that has ended; the last one ends ``close``."""
        thread.join()
        self._threads.remove(thread)
        if not self._threads and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)


def check_threads() -> None:
    """Refuse threads in a process whose ``threading`` the app has patched. Raises UsageError."""
    # Python 3.13 has the type where earlier versions have the function.
    locks = (allocate_lock, LockType)
    if threading.Lock not in locks or threading.get_ident is not get_ident:
        library = "gevent" if "gevent" in sys.modules else "eventlet"
        raise UsageError(
            f"{library} has patched threading, so there are no threads for requests; "
            "leave out --threads"
        )


class _StopJob:
    """The job that ends a thread; it is never run."""

    def run(self) -> None:
        raise NotImplementedError


_STOP = _StopJob()


class _Thread(threading.Thread):
    """A thread of the pool. It sleeps on a lock until it is assigned a job."""

    def __init__(self, pool: ThreadPool, number: int) -> None:
        super().__init__(name=f"prefork-wsgi-{number}", daemon=False)
        self._pool = pool
        self._wakeup = threading.Lock()
        self._wakeup.acquire()
        self._job: Job | None = None

    def assign(self, job: Job) -> None:
        """Wake the sleeping thread for this job."""
        self._job = job
        self._wakeup.release()

    def run(self) -> None:
        """Do one job after the other, until the job that ends the thread."""
        job: Job | None = None
        while job is not _STOP:
            self._wakeup.acquire()
            job = self._job
            while job is not None and job is not _STOP:
                job.run()
                job = self._pool.next_job(self)
        self._pool.thread_ended(self)


class LoopCallQueue:
    """Runs calls from threads in the loop, in their order; many of them at one wake of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """The calls run in the context of this call, not in that of the request whose thread puts
        them."""
        self._loop = loop
        self._context = copy_context()
        self._calls: deque[Callable[[], None]] = deque()
        self._run_scheduled = False

    def put(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop. It must not raise. Any thread may put one."""
        self._calls.append(call)
        # No lock is needed: the loop clears the flag before it looks, so it finds a call that was
        # put while the flag was set.
        if not self._run_scheduled:
            self._run_scheduled = True
            self._loop.call_soon_threadsafe(self._run, context=self._context)

    def _run(self) -> None:
        """Run all calls that are queued; in the loop."""
        self._run_scheduled = False
        calls = self._calls
        while calls:
            calls.popleft()()
