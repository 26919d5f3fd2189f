"""What an app may ask of the worker it runs in; the public functions of prefork are these.

Outside of a worker (a test, a script) ``worker()`` raises, ``ready()`` does nothing, and
``stopping()`` never happens, so that the same app also runs without prefork.
"""

import os
import select
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from prefork.worker.busy import BusyWork


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """``slot``: 0 to n-1, inherited by a replacement. ``generation``: counts reloads from 1."""

    slot: int
    generation: int
    name: str


class Stopping:
    """The wish that this worker leaves. It is a flag, can be waited for, and is selectable.

    ``if stopping():``, ``stopping().wait(timeout)``, ``await stopping()``, and ``select`` on it:
    it is readable once it happened. A pipe and no lock, because a signal handler sets it.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._happened = False
        self.asked = False
        """The app has looked: it takes care of leaving by itself."""

    def __bool__(self) -> bool:
        return self._happened

    def fileno(self) -> int:
        """Readable once it happened."""
        return self._reader

    def descriptors(self) -> tuple[int, int]:
        """Both ends of the pipe."""
        return self._reader, self._writer

    def set(self) -> None:
        """It happens now; safe in a signal handler."""
        if not self._happened:
            self._happened = True
            os.write(self._writer, b".")

    def wait(self, timeout: float | None = None) -> bool:
        """Block up to ``timeout`` seconds (None: for ever); whether it happened."""
        select.select([self._reader], [], [], timeout)
        return self._happened

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        import asyncio  # noqa: PLC0415 - who awaits has it; the manager's verbs need none

        if self._happened:
            return
        loop = asyncio.get_running_loop()
        # A descriptor of its own for each who waits: a loop watches a descriptor only once.
        own = os.dup(self._reader)
        happened = asyncio.Event()
        loop.add_reader(own, happened.set)
        try:
            await happened.wait()
        finally:
            loop.remove_reader(own)
            os.close(own)


class _State:
    busy = BusyWork()
    info: WorkerInfo | None = None
    stopping: Stopping | None = None
    ready_callback: Callable[[], None] | None = None


def set_worker(info: WorkerInfo) -> Stopping:
    """Called once by the worker itself, after the fork."""
    _State.info = info
    _State.stopping = Stopping()
    _State.ready_callback = None
    return _State.stopping


def forget_worker() -> None:
    """In a process that the worker forked: nothing asks it to leave, and no master waits for
    it to be ready. ``worker()`` still names the worker that it comes from."""
    _State.stopping = None
    _State.ready_callback = None
    _State.busy = BusyWork()


def set_ready_callback(say_ready: Callable[[], None]) -> None:
    """What ``ready()`` is to call, with --ready manual."""
    _State.ready_callback = say_ready


def worker() -> WorkerInfo:
    """The worker that runs this code, or forked the process that does: slot, generation, name.
    Raises RuntimeError outside."""
    if _State.info is None:
        raise RuntimeError("prefork.worker() was called outside of a prefork worker")
    return _State.info


def ready() -> None:
    """Say that this worker accepts connections now (with ``--ready manual``); once is enough."""
    if _State.ready_callback is not None:
        _State.ready_callback()


def busy() -> BusyWork:
    """``with busy():`` marks work that is no request, as in a thread or after a response: workers
    are not recycled, nor scaled down by the load, before it is done, and a worker that is told to
    go waits for it up to the kill timeout."""
    return _State.busy


def stopping() -> Stopping:
    """The wish that this worker leaves; see Stopping. Who asks is expected to leave by itself."""
    if _State.stopping is None:
        _State.stopping = Stopping()
    _State.stopping.asked = True
    return _State.stopping
