"""The functions that an app may call: ``worker()``, ``ready()``, ``busy()``, ``stopping()``.

``import prefork`` gives them. Outside of a worker (a test, a script) ``worker()`` raises,
``ready()`` does nothing, and ``stopping()`` never becomes true, so that the same app also runs
without prefork.
"""

import os
import select
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from prefork.worker.busy import BusyWork


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """The worker that runs this code.

    ``slot``: its place in the pool, 0 to n-1; a replacement inherits it. ``generation``: counts
    reloads, from 1. ``name``: of the app (``--name``).
    """

    slot: int
    generation: int
    name: str


class Stopping:
    """Whether this worker is to stop: a flag that can be waited for and that is selectable.

    ``if stopping():``, ``stopping().wait(timeout)``, ``await stopping()``, and ``select`` on it: it
    is readable once the worker is to stop. It is made of a pipe and no lock, because a signal
    handler sets it.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._happened = False
        self.asked = False
        """The app has called ``prefork.stopping()``: it ends by itself, nothing else ends it."""

    def __bool__(self) -> bool:
        return self._happened

    def fileno(self) -> int:
        """Return the descriptor that is readable once the worker is to stop."""
        return self._reader

    def descriptors(self) -> tuple[int, int]:
        """Return both ends of the pipe."""
        return self._reader, self._writer

    def set(self) -> None:
        """Note that the worker is to stop. Safe in a signal handler."""
        if not self._happened:
            self._happened = True
            os.write(self._writer, b".")

    def wait(self, timeout: float | None = None) -> bool:
        """Block up to ``timeout`` seconds (None: without limit); return whether the worker is to
        stop."""
        select.select([self._reader], [], [], timeout)
        return self._happened

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        """Wait, in an event loop, until the worker is to stop."""
        # An app that awaits has imported asyncio. The verbs of the command need none.
        import asyncio  # noqa: PLC0415

        if self._happened:
            return
        loop = asyncio.get_running_loop()
        # A duplicate for each waiting task, because a loop watches a descriptor only once.
        own = os.dup(self._reader)
        happened = asyncio.Event()
        loop.add_reader(own, happened.set)
        try:
            await happened.wait()
        finally:
            loop.remove_reader(own)
            os.close(own)


class _State:
    """The state of this process behind the public functions."""

    busy = BusyWork()
    info: WorkerInfo | None = None
    stopping: Stopping | None = None
    ready_callback: Callable[[], None] | None = None


def set_worker(info: WorkerInfo) -> Stopping:
    """Make this process the worker ``info``; called once after the fork. Returns its stop flag."""
    _State.info = info
    _State.stopping = Stopping()
    _State.ready_callback = None
    return _State.stopping


def forget_worker() -> None:
    """Forget the worker, in a process that it forked: nothing asks the child to stop, and no master
    waits for it to be ready. ``worker()`` still names the worker that the child comes from."""
    _State.stopping = None
    _State.ready_callback = None
    _State.busy = BusyWork()


def set_ready_callback(say_ready: Callable[[], None]) -> None:
    """Set the function that ``ready()`` calls, with ``--ready manual``."""
    _State.ready_callback = say_ready


def worker() -> WorkerInfo:
    """Return the worker that runs this code, or that forked the process which does: slot,
    generation, name. Raises RuntimeError outside of a worker."""
    if _State.info is None:
        raise RuntimeError("prefork.worker() was called outside of a prefork worker")
    return _State.info


def ready() -> None:
    """Report that this worker accepts connections now (with ``--ready manual``). More calls do
    nothing."""
    if _State.ready_callback is not None:
        _State.ready_callback()


def busy() -> BusyWork:
    """Mark work that is no request, as in a thread or after a response: ``with busy():``.

    A worker is not recycled, nor scaled down by the load, before the work is done. A worker that
    was told to stop waits for it, up to the kill timeout.
    """
    return _State.busy


def stopping() -> Stopping:
    """Return the stop flag of this worker; see Stopping.

    An app that calls it ends by itself when the flag is set: ``main(listener)`` is then not ended
    by SystemExit or cancellation.
    """
    if _State.stopping is None:
        _State.stopping = Stopping()
    _State.stopping.asked = True
    return _State.stopping
