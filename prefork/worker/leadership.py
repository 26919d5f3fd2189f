"""``prefork.leader()`` and ``prefork.on_leader(callback)`` in one process.

Design
------
- **A callback per term, not a pair of callbacks for its begin and end.** What begins and ends the
  work of a leader is then one function with local variables and ``try``/``finally``, as in
  ``LeaderSelector`` of Curator and ``Election.run`` of kazoo; and its return is how the worker
  knows that the work has ended. Rejected: OnStartedLeading and OnStoppedLeading of client-go, whose
  users end the process because nothing tells when the work has stopped.
- **The end of the leadership is told in the way of** ``prefork.stopping()``: a callback that looks
  at ``leadership.lost`` ends by itself, and a coroutine that does not is cancelled.
- **The worker resigns when its last callback has ended,** and the next leader is named then. So two
  callbacks never run at a time. One that does not end keeps the leadership until the kill timeout.
- **Callbacks run in a thread each, coroutines in the event loop of the app,** where it has one. The
  main thread serves requests, and would make these wait.
- **A callback that raises is logged and called again,** after 1, 2, 4 … 60 seconds. Rejected: to
  resign, or to replace the worker. If it fails everywhere, because a database is away, the failure
  would go through all workers, which serve well.
- **The fork copies of a leader do not lead,** and no leader is a leader without its master: a
  worker whose master was killed leads no more from that moment on, because the next master may
  exist already.
- **With a server as the store, a worker leads while it also has a lease** (store/leader_lease.py).
  The one that the master names asks for it. A term that ends because the lease was lost ends as
  others do, but the worker does not resign: when its callbacks have ended, it asks again.
"""

import logging
import signal
from _thread import LockType, allocate_lock, get_ident, start_new_thread
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from prefork.errors import AppError
from prefork.worker.selectable_flag import SelectableFlag

if TYPE_CHECKING:
    import asyncio

    from prefork.worker.busy import BusyWork

FIRST_RETRY = 1.0
"""Seconds until a callback that raised is called again; doubled each time."""

LONGEST_RETRY = 60.0
"""Seconds."""


class Lease(Protocol):
    """The lease of a worker that may lead over several machines."""

    def start(self, on_granted: Callable[[int], None], on_lost: Callable[[], None]) -> None:
        """Ask for the lease until ``stop``, and call these when a term begins and ends."""

    def is_held(self) -> bool:
        """Return whether this worker has the lease at this moment."""

    def end_term(self) -> None:
        """Ask for the lease again, because the work of the lost term has ended."""

    def stop(self) -> None:
        """Give the lease back."""


LeaseMaker = Callable[[str, logging.Logger, Callable[[str, int, float], None]], Lease]
"""Called with the label of the worker, its log, and what shows the state of the lease: a word of
LEASE_STATES, the fencing token, and when the lease ends."""


class Leadership:
    """One term of leadership, as its callbacks see it.

    ``token``: the fencing token, which is larger than that of each leader before.
    """

    def __init__(self, token: int, lost: SelectableFlag) -> None:
        self.token = token
        self.is_asked = False
        """A callback has asked for ``lost``, so it ends by itself."""
        self._lost = lost

    @property
    def lost(self) -> SelectableFlag:
        """The flag that is set when this worker stops leading: ``if leadership.lost:``,
        ``leadership.lost.wait(60)``, ``await leadership.lost``."""
        self.is_asked = True
        return self._lost


class LeaderCallbacks:
    """The callbacks of this process, and the term in which they run.

    ``label``: of this process, for the log. ``loop``: the event loop of the app; None: it has none.
    ``lease``: has to be held, too; None: there is no server that grants one.
    ``is_named``: whether the master names this process as the leader. ``on_resigned``: called in
    any thread when the term is over. ``exit_if_child``: called after each call in a thread with the
    error that it raised: the callback may have forked, and this may be the child.
    """

    def __init__(self, busy: "BusyWork") -> None:
        self.token = 0
        """The fencing token of the term; 0: this process never led."""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.label = "this process"
        self.log = logging.getLogger("prefork")
        self.is_named: Callable[[], bool] = bool
        self.on_resigned: Callable[[], None] = lambda: None
        self.exit_if_child: Callable[[BaseException | None], None] = lambda _error: None
        self.lease: Lease | None = None
        self._busy = busy
        self._lock = allocate_lock()
        self._callbacks: list[LeaderCallback] = []
        self._lost: SelectableFlag | None = None
        self._is_lost = False
        self._running = 0
        self._is_candidate = False
        """The master has named this process."""
        self._is_asked = False
        """The app has asked who leads."""
        self._awaits_lease = False
        self._is_interrupted = False
        """The lease of a term was lost, and its callbacks run on."""

    def leads(self) -> bool:
        """Return whether this process leads at this moment."""
        if not self._is_asked:
            self._note_asked()
        if self.token == 0 or self._is_lost or not self.is_named():
            return False
        return self.lease is None or self.lease.is_held()

    def add(self, call: Callable[..., Any]) -> None:
        """Call ``call`` when this process becomes the leader; now if it is."""
        callback = LeaderCallback(call, self)
        self._note_asked()
        with self._lock:
            if self._lost is None:
                # Now, while few descriptors are open: select(2) takes no number above 1023.
                self._lost = SelectableFlag()
            self._callbacks.append(callback)
            if not self.token or self._is_lost:
                return
            self._running += 1
        callback.start(self.token, self._lost)

    def name(self, token: int) -> None:
        """Note that the master names this process, with its token. It leads from now on, or when it
        has the lease. A process that has to stop resigns at once."""
        with self._lock:
            self._is_candidate = True
            is_over = self._is_lost
        if is_over:
            self.on_resigned()
        elif self.lease is None:
            self.begin(token)
        elif self._is_asked:
            self._ask_for_lease(self.lease)

    def _note_asked(self) -> None:
        """Note that the app asks who leads. Only then a lease is of use."""
        self._is_asked = True
        if self.lease is not None and self._is_candidate:
            self._ask_for_lease(self.lease)

    def _ask_for_lease(self, lease: Lease) -> None:
        with self._lock:
            if self._awaits_lease or self._is_lost:
                return
            self._awaits_lease = True
        try:
            lease.start(self.begin, self.interrupt)
        except RuntimeError as error:  # the limit of processes is reached
            self._awaits_lease = False
            self.log.error("%s cannot ask for the lease of the leader: %s", self.label, error)

    def begin(self, token: int) -> None:
        """Begin a term: call all callbacks."""
        with self._lock:
            if self._is_lost:
                return
            self.token = token
            if self._lost is not None and self._lost:
                self._lost = SelectableFlag()  # that of the term before stays set
            started = list(self._callbacks)
            self._running += len(started)
        for callback in started:
            assert self._lost is not None, "add has made it"
            callback.start(token, self._lost)

    def interrupt(self) -> None:
        """End a term because its lease was lost. Another one may begin when its callbacks have
        ended."""
        with self._lock:
            self.token = 0
            if self._is_lost:
                return
            self._is_interrupted = self._running > 0
            goes_on = self._is_interrupted
        if self._lost is not None:
            self._lost.set()
        if not goes_on and self.lease is not None:
            self.lease.end_term()

    def lose(self) -> None:
        """End the last term, because the process has to stop. More calls do nothing.

        The worker does not end before its callbacks have: they count as work of the app.
        """
        with self._lock:
            if self._is_lost:
                return
            self._is_lost = True
            waits = self._running > 0
            if waits:
                self._busy.__enter__()
        if self._lost is not None:
            self._lost.set()
        if not waits:
            self._resign()

    def end_one(self) -> None:
        """Note that a callback has ended; the last one after the loss ends the term."""
        with self._lock:
            self._running -= 1
            is_over = self._is_lost and not self._running
            asks_again = self._is_interrupted and not self._running and not is_over
            self._is_interrupted = self._is_interrupted and self._running > 0
        if is_over:
            self._resign()
            self._busy.__exit__()
        elif asks_again and self.lease is not None:
            self.lease.end_term()

    def _resign(self) -> None:
        """Give the lease back, and tell the master, if it has named this process."""
        if self.lease is not None:
            self.lease.stop()
        if self._is_candidate:
            self.on_resigned()


class LeaderCallback:
    """A callback, and its calls in one term. Raises TypeError if it cannot be called back."""

    def __init__(self, call: Callable[..., Any], callbacks: LeaderCallbacks) -> None:
        # The verbs of the command, which import this module, call nothing back.
        from prefork.worker.callable_shape import CallableShape, is_async  # noqa: PLC0415

        if not callable(call):
            raise TypeError(f"on_leader takes a callback, not {call!r}")
        try:
            shape = CallableShape(call)
        except AppError:
            raise TypeError(f"the arguments of {call!r} cannot be read: wrap it") from None
        self._call = call
        self._wants_leadership = shape.required > 0 or shape.has_star
        self._is_async = is_async(call)
        self._callbacks = callbacks
        self._name = getattr(call, "__qualname__", repr(call))

    def start(self, token: int, lost: SelectableFlag) -> None:
        """Begin to run it, in the loop of the app or in a thread. Called in any thread."""
        callbacks, loop = self._callbacks, self._callbacks.loop
        callbacks.log.info("%s leads (token %d) and calls %s", callbacks.label, token, self._name)
        leadership = Leadership(token, lost)
        try:
            if self._is_async and loop is not None:
                loop.call_soon_threadsafe(self._start_task, loop, leadership, lost)
            else:
                _start_thread(self._name, lambda: self._run_in_thread(leadership, lost))
        except RuntimeError as error:  # the loop is closed, or there are too many threads
            callbacks.log.error("%s: cannot call %s: %s", callbacks.label, self._name, error)
            callbacks.end_one()

    def _run_in_thread(self, leadership: Leadership, lost: SelectableFlag) -> None:
        """Run it to its end, in a thread of its own."""
        # The watchdog, which starts this thread, blocks all signals, and programs that the callback
        # starts would inherit that.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        error: BaseException | None = None
        try:
            if self._is_async:
                import asyncio  # noqa: PLC0415 - only such a callback needs it

                asyncio.run(self._await_calls(leadership, lost))
            else:
                self._repeat_calls(leadership, lost)
        except SystemExit as exited:
            error = exited  # it ends the thread, as in any other thread
        finally:
            self._callbacks.exit_if_child(error)
            self._callbacks.end_one()

    def _repeat_calls(self, leadership: Leadership, lost: SelectableFlag) -> None:
        """Call it until it returns, or the leadership is lost."""
        delay = FIRST_RETRY
        while True:
            try:
                self._invoke(leadership)
                return
            except Exception as error:
                self._callbacks.exit_if_child(error)
                self._log_failure(delay, lost)
            if lost.wait(delay):
                return
            delay = min(2 * delay, LONGEST_RETRY)

    def _start_task(
        self, loop: "asyncio.AbstractEventLoop", leadership: Leadership, lost: SelectableFlag
    ) -> None:
        """Run it to its end as a task of the app's loop."""
        self._task = loop.create_task(self._await_calls(leadership, lost))
        self._task.add_done_callback(lambda _task: self._callbacks.end_one())

    async def _await_calls(self, leadership: Leadership, lost: SelectableFlag) -> None:
        """Await it until it returns, or the leadership is lost."""
        import asyncio  # noqa: PLC0415

        delay = FIRST_RETRY
        loss = asyncio.ensure_future(_wait_for(lost))
        try:
            while True:
                work = asyncio.ensure_future(self._invoke(leadership))
                await asyncio.wait((work, loss), return_when=asyncio.FIRST_COMPLETED)
                if not work.done() and not leadership.is_asked:
                    work.cancel()
                try:
                    await work
                    return
                except asyncio.CancelledError:
                    return
                except Exception:
                    self._log_failure(delay, lost)
                await asyncio.wait((loss,), timeout=delay)
                if lost:
                    return
                delay = min(2 * delay, LONGEST_RETRY)
        finally:
            loss.cancel()

    def _invoke(self, leadership: Leadership) -> Any:
        return self._call(leadership) if self._wants_leadership else self._call()

    def _log_failure(self, delay: float, lost: SelectableFlag) -> None:
        """Log the error that is handled."""
        text = "" if lost else f"; it is called again in {delay:g} s"
        self._callbacks.log.exception(
            "%s: the callback %s of the leader failed%s", self._callbacks.label, self._name, text
        )


async def _wait_for(flag: SelectableFlag) -> None:
    """Wait for the flag, as a coroutine."""
    await flag


def _start_thread(name: str, run: Callable[[], None]) -> None:
    """Run a function in a thread of the kernel. Raises RuntimeError.

    It is no daemon, because threads that the callback starts inherit that. An app that gevent or
    eventlet has patched would get a green thread of the watchdog's thread, which never runs.
    """
    import threading  # noqa: PLC0415 - the verbs of the command need none

    # Python 3.13 has the type where earlier versions have the function.
    is_patched = threading.Lock not in (allocate_lock, LockType)
    if is_patched or threading.get_ident is not get_ident:
        start_new_thread(run, ())
    else:
        threading.Thread(target=run, name=f"leader: {name}", daemon=False).start()
