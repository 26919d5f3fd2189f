"""Threads that work for the loop, and the way back into it.

A wake costs more than a small job, and threads that are awake at once fight over the interpreter.
So one thread is woken at a time: if its jobs are short it does all that wait; if it blocks in one,
the loop finds in its next turn that others still wait, and wakes the next thread. The one that
became idle last is woken first: its stack is still in the cache.

A thread that the kernel does not grant, at a limit of processes (pids.max of a cgroup, or
RLIMIT_NPROC), is tried again as long as jobs wait; meanwhile the pool works with those it has. It
has at least the one that ``start`` starts.
"""

import asyncio
import logging
import sys
import threading
from _thread import allocate_lock, get_ident
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Protocol

from prefork.errors import MachineError, UsageError

START_RETRY_DELAY = 0.5
"""Seconds after which a thread that could not be started is tried again."""


class Job(Protocol):
    """What a thread does."""

    def run(self) -> None:
        """Never raises."""


class ThreadPool:
    """At most ``most`` threads, the first started by ``start``, the others when they are first
    needed. Only the loop gives jobs."""

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
        """The last thread could not be started, and it is not yet time to try again."""
        self._refusal_logged = False
        self._ended: asyncio.Future[None] | None = None
        """Done when the last thread has ended, once the pool is closed."""

    def start(self) -> None:
        """Start the first thread. Raises MachineError: without one nothing can be served."""
        self._idle.append(self._start_thread())

    def spare_threads(self) -> int:
        """Threads that have nothing to do; below zero: jobs that wait for one."""
        limit = len(self._threads) if self._start_refused else self._max_threads
        return len(self._idle) + limit - len(self._threads) - len(self._waiting)

    def put(self, job: Job) -> None:
        """Have it done, now or when a thread is free."""
        self._waiting.append(job)
        if not self._dispatch_scheduled:
            self._dispatch()

    def _dispatch(self) -> None:
        """Wake one thread, and look again in the loop's next turn."""
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
        self._start_refused = True
        self._loop.call_later(START_RETRY_DELAY, self._retry_start)
        if not self._refusal_logged:
            self._refusal_logged = True
            count = len(self._threads)
            self._log.error("%s; serving with %d, and trying again", error, count)

    def _retry_start(self) -> None:
        self._start_refused = False
        if not self._dispatch_scheduled:
            self._dispatch()

    def withdraw(self, job: Job) -> bool:
        """Take it back; False: a thread has it already."""
        with self._lock:
            if job not in self._waiting:
                return False
            self._waiting.remove(job)
            return True

    def next_job(self, thread: "_Thread") -> Job | None:
        """The next job for a thread that is done; None: it sleeps until it is given one."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._closed:
                return _STOP
            self._idle.append(thread)
            return None

    async def close(self) -> None:
        """Wait until all that was put is done, and end the threads."""
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
        """In a thread, with its last instructions."""
        self._loop.call_soon_threadsafe(self._remove_thread, thread)

    def _remove_thread(self, thread: "_Thread") -> None:
        thread.join()
        self._threads.remove(thread)
        if not self._threads and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)


def check_threads() -> None:
    """Raises UsageError when the app has patched ``threading``: its threads are green ones of a
    single thread, so none of them may block, which is what these are for."""
    if threading.Lock is not allocate_lock or threading.get_ident is not get_ident:
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
    """Sleeps on its gate until there is a job. It is no daemon, because threads that the app starts
    in it would be daemons as well, and cut at the worker's exit."""

    def __init__(self, pool: ThreadPool, number: int) -> None:
        super().__init__(name=f"prefork-wsgi-{number}", daemon=False)
        self._pool = pool
        self._wakeup = threading.Lock()
        self._wakeup.acquire()
        self._job: Job | None = None

    def assign(self, job: Job) -> None:
        """Wake it up."""
        self._job = job
        self._wakeup.release()

    def run(self) -> None:
        """One job after the other."""
        job: Job | None = None
        while job is not _STOP:
            self._wakeup.acquire()
            job = self._job
            while job is not None and job is not _STOP:
                job.run()
                job = self._pool.next_job(self)
        self._pool.thread_ended(self)


class LoopCallQueue:
    """Runs in the loop what threads ask for, in their order; many at one wake of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._context = copy_context()
        self._calls: deque[Callable[[], None]] = deque()
        self._run_scheduled = False

    def put(self, call: Callable[[], None]) -> None:
        """In any thread. ``act`` never raises."""
        self._calls.append(call)
        # The loop sets it back before it looks: what was put while it was set is found.
        if not self._run_scheduled:
            self._run_scheduled = True
            # Else it would be the context of the request that this thread runs.
            self._loop.call_soon_threadsafe(self._run, context=self._context)

    def _run(self) -> None:
        self._run_scheduled = False
        calls = self._calls
        while calls:
            calls.popleft()()
