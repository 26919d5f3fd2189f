"""The functions that an app may call: ``worker()``, ``ready()``, ``busy()``, ``stopping()``,
``leader()``, ``leader_token()``, ``on_leader()``.

``import prefork`` gives them. Outside of a worker (a test, a script) ``worker()`` raises,
``ready()`` does nothing, ``stopping()`` never becomes true, and the process does not lead, so that
the same app also runs without prefork.

Design
------
- **A process outside of prefork does not lead,** unless its environment says ``PREFORK_LEADER=1``.
  A shell or a migration that imports the app beside its running workers would otherwise be a second
  leader. The variable is for a development server, and for the one machine that runs the app in
  another way.
"""

import atexit
import os
from collections.abc import Callable
from dataclasses import dataclass
from time import time_ns
from typing import Any, TypeVar

from prefork.worker.busy import BusyWork
from prefork.worker.leadership import LeaderCallbacks
from prefork.worker.selectable_flag import SelectableFlag

Callback = TypeVar("Callback", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """The worker that runs this code.

    ``slot``: its place in the pool, 0 to n-1; a replacement inherits it. ``generation``: counts
    reloads, from 1. ``name``: of the app (``--name``).
    """

    slot: int
    generation: int
    name: str


class Stopping(SelectableFlag):
    """The flag that this worker is to stop: it can be waited for, and is selectable.

    ``if stopping():``, ``stopping().wait(timeout)``, ``await stopping()``, and ``select`` on it: it
    is readable once the worker is to stop. A signal handler sets it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked = False
        """The app has called ``prefork.stopping()``: it ends by itself, nothing else ends it."""


class _State:
    """The state of this process behind the public functions."""

    busy = BusyWork()
    info: WorkerInfo | None = None
    stopping: Stopping | None = None
    ready_callback: Callable[[], None] | None = None
    leadership = LeaderCallbacks(busy)


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
    _State.leadership = LeaderCallbacks(_State.busy)


def leader_callbacks() -> LeaderCallbacks:
    """Return what this process does as the leader."""
    return _State.leadership


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


def leader() -> bool:
    """Return whether this worker is the leader of the app: at most one worker is, at any time.

    It is False in a process that the leader forked, in a worker that was told to stop, and outside
    of prefork without ``PREFORK_LEADER=1``.
    """
    if _State.info is None:
        _lead_outside()
    return _State.leadership.leads()


def leader_token() -> int | None:
    """Return the fencing token of this worker while it leads, else None.

    It is larger than that of each leader before. A resource that refuses tokens below the largest
    one that it has seen is safe from a leader that was stopped in the middle of its work.
    """
    callbacks = _State.leadership
    return callbacks.token if leader() else None


def on_leader(callback: Callback) -> Callback:
    """Call ``callback`` when this worker becomes the leader, or now if it is; return it.

    It gets the ``Leadership``, if it takes an argument. A function runs in a thread of its own, a
    coroutine function in the event loop of the app. The worker leads until it is told to stop, and
    the next one leads when all callbacks have ended: a function looks at ``leadership.lost``, a
    coroutine that does not is cancelled. A callback that raises is called again later.
    """
    if _State.info is None:
        _lead_outside()
    _State.leadership.add(callback)
    return callback


def _lead_outside() -> None:
    """Make this process, which is no worker, the leader if its environment says so."""
    callbacks = _State.leadership
    if callbacks.token or os.environ.get("PREFORK_LEADER") != "1":
        return
    pid = os.getpid()
    callbacks.is_named = lambda: os.getpid() == pid
    callbacks.begin(time_ns() // 1_000_000)
    atexit.register(callbacks.lose)
