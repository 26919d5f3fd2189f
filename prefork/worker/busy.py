"""``with prefork.busy():`` marks work that is no request; recycling and scaling wait for it.

Design
------
- **The number of such pieces is in the worker's row,** which the master reads when it decides.
  Nothing is sent when work begins or ends, so it may mark every request. The master looks once a
  second while a recycling waits for it.
- **Reloads, stops and ``prefork scale`` wait only up to the kill timeout:** they are the wish of a
  person.
- **The lifespan shutdown comes after this work, but not later than after the calls of the app**
  (http_worker.py). Work without an end would take its time away.
"""

from _thread import allocate_lock
from collections.abc import Callable
from typing import Any


class BusyWork:
    """Counts the pieces of work of one process. Any thread may begin and end one.

    It is a context manager that several threads or tasks may have entered at a time.
    """

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._idle_callbacks: list[Callable[[], None]] = []
        self.count = 0
        self.publish: Callable[[int], None] = lambda _count: None
        """Called with the number of pieces whenever it changes."""

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
        """Call it once when no work is left, in the thread that ends the last piece; now if there
        is none."""
        with self._lock:
            if self.count:
                self._idle_callbacks.append(call)
                return
        call()

    def wait(self) -> None:
        """Block until no work is left. Signal handlers and green threads run meanwhile."""
        # Here, because the verbs of the command need none. The lock of the module, not that of
        # _thread: gevent and eventlet replace it by one that lets green threads run.
        import threading  # noqa: PLC0415

        idle = threading.Lock()
        idle.acquire()
        self.call_when_idle(idle.release)
        idle.acquire()
