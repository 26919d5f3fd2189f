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
from _thread import LockType, allocate_lock, get_ident
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Protocol

from prefork.errors import MachineError, UsageError

AGAIN = 0.5
"""Seconds after which a thread that could not be started is tried again."""


class Job(Protocol):
    """What a thread does."""

    def run(self) -> None:
        """Never raises."""


class ThreadPool:
    """At most ``most`` threads, the first started by ``start``, the others when they are first
    needed. Only the loop gives jobs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int, log: logging.Logger) -> None:
        self._loop = loop
        self._most = most
        self._log = log
        self._lock = threading.Lock()
        self._threads: list[_Thread] = []
        self._idle: list[_Thread] = []
        self._waiting: deque[Job] = deque()
        self._spreading = False
        self._closed = False
        self._refused = False
        """The last thread could not be started, and it is not yet time to try again."""
        self._complained = False
        self._ended: asyncio.Future[None] | None = None
        """Done when the last thread has ended, once the pool is closed."""

    def start(self) -> None:
        """Start the first thread. Raises MachineError: without one nothing can be served."""
        self._idle.append(self._start_thread())

    def spare(self) -> int:
        """Threads that have nothing to do; below zero: jobs that wait for one."""
        most = len(self._threads) if self._refused else self._most
        return len(self._idle) + most - len(self._threads) - len(self._waiting)

    def put(self, job: Job) -> None:
        """Have it done, now or when a thread is free."""
        self._waiting.append(job)
        if not self._spreading:
            self._spread()

    def _spread(self) -> None:
        """Wake one thread, and look again in the loop's next turn."""
        with self._lock:
            thread = self._free() if self._waiting else None
            if thread is None:
                self._spreading = False
                return
            job = self._waiting.popleft()
        self._spreading = True
        self._loop.call_soon(self._spread)
        thread.give(job)

    def _free(self) -> "_Thread | None":
        if self._idle:
            return self._idle.pop()
        if len(self._threads) == self._most or self._refused:
            return None
        try:
            thread = self._start_thread()
        except MachineError as error:
            self._put_off(error)
            return None
        if self._complained:
            self._complained = False
            self._log.info("threads can be started again")
        return thread

    def _start_thread(self) -> "_Thread":
        thread = _Thread(self, len(self._threads))
        try:
            thread.start()
        except RuntimeError as error:
            raise MachineError(
                f"cannot start thread {len(self._threads) + 1} of {self._most}: {error}; see "
                "the limits of processes: ulimit -u, and pids.max of the cgroup"
            ) from error
        self._threads.append(thread)
        return thread

    def _put_off(self, error: MachineError) -> None:
        self._refused = True
        self._loop.call_later(AGAIN, self._try_again)
        if not self._complained:
            self._complained = True
            count = len(self._threads)
            self._log.error("%s; serving with %d, and trying again", error, count)

    def _try_again(self) -> None:
        self._refused = False
        if not self._spreading:
            self._spread()

    def forget(self, job: Job) -> bool:
        """Take it back; False: a thread has it already."""
        with self._lock:
            if job not in self._waiting:
                return False
            self._waiting.remove(job)
            return True

    def next(self, thread: "_Thread") -> Job | None:
        """The next job for a thread that is done; None: it sleeps until it is given one."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._closed:
                return _END
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
                self._idle.pop().give(_END)
        await self._ended

    def over(self, thread: "_Thread") -> None:
        """In a thread, with its last instructions."""
        self._loop.call_soon_threadsafe(self._forget_thread, thread)

    def _forget_thread(self, thread: "_Thread") -> None:
        thread.join()
        self._threads.remove(thread)
        if not self._threads and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)


def check_threads() -> None:
    """Raises UsageError when the app has patched ``threading``: its threads are green ones of a
    single thread, so none of them may block, which is what these are for."""
    # Python 3.13 has the type where earlier versions have the function.
    locks = (allocate_lock, LockType)
    if threading.Lock not in locks or threading.get_ident is not get_ident:
        library = "gevent" if "gevent" in sys.modules else "eventlet"
        raise UsageError(
            f"{library} has patched threading, so there are no threads for requests; "
            "leave out --threads"
        )


class _End:
    """The job that ends a thread; it is never run."""

    def run(self) -> None:
        raise NotImplementedError


_END = _End()


class _Thread(threading.Thread):
    """Sleeps on its gate until there is a job. It is no daemon, because threads that the app starts
    in it would be daemons as well, and cut at the worker's exit."""

    def __init__(self, pool: ThreadPool, number: int) -> None:
        super().__init__(name=f"prefork-wsgi-{number}", daemon=False)
        self._pool = pool
        self._gate = threading.Lock()
        self._gate.acquire()
        self._job: Job | None = None

    def give(self, job: Job) -> None:
        """Wake it up."""
        self._job = job
        self._gate.release()

    def run(self) -> None:
        """One job after the other."""
        job: Job | None = None
        while job is not _END:
            self._gate.acquire()
            job = self._job
            while job is not None and job is not _END:
                job.run()
                job = self._pool.next(self)
        self._pool.over(self)


class LoopCallQueue:
    """Runs in the loop what threads ask for, in their order; many at one wake of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._context = copy_context()
        self._due: deque[Callable[[], None]] = deque()
        self._called = False

    def put(self, act: Callable[[], None]) -> None:
        """In any thread. ``act`` never raises."""
        self._due.append(act)
        # The loop sets it back before it looks: what was put while it was set is found.
        if not self._called:
            self._called = True
            # Else it would be the context of the request that this thread runs.
            self._loop.call_soon_threadsafe(self._run, context=self._context)

    def _run(self) -> None:
        self._called = False
        due = self._due
        while due:
            due.popleft()()
