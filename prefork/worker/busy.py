"""``with prefork.busy():`` marks work that is no request; recycling and scaling wait for it.

The number of such pieces is in the worker's row, where the master sees it. A worker that is told to
go waits for them, too, within the kill timeout.
"""

from _thread import allocate_lock
from collections.abc import Callable
from typing import Any


class BusyWork:
    """Counts the pieces of work of one process; any thread may begin and end one. It is a context
    manager that can be entered by several at a time."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._idle_callbacks: list[Callable[[], None]] = []
        self.count = 0
        self.publish: Callable[[int], None] = lambda _count: None
        """Called with the number of pieces, whenever it changes."""

    def __enter__(self) -> None:
        with self._lock:
            self.count += 1
            self.publish(self.count)

    def __exit__(self, *_error: Any) -> None:
        with self._lock:
            self.count -= 1
            self.publish(self.count)
            callbacks = [] if self.count else self._idle_callbacks
            if callbacks:
                self._idle_callbacks = []
        for call in callbacks:
            call()

    def call_when_idle(self, call: Callable[[], None]) -> None:
        """Call it once when nothing is left, in the thread that ended the last piece; at once if
        there is nothing."""
        with self._lock:
            if self.count:
                self._idle_callbacks.append(call)
                return
        call()

    def wait(self) -> None:
        """Block until nothing is left; signal handlers and green threads run meanwhile."""
        import threading  # noqa: PLC0415 - the manager's verbs need none

        idle = threading.Lock()
        idle.acquire()
        self.call_when_idle(idle.release)
        idle.acquire()
