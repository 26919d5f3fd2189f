"""When a snapshot is due: an interval after the first change that is in none.

Design
------
- **The timer begins with a change, not with the opening of the store.** A check at each write would
  leave the last changes of a burst without a snapshot until the next burst, hours later.
- **A thread of one burst, not one for ever.** It ends with the snapshot, and the next change starts
  another one. A fork leaves it behind; the first change of the child starts one there.
- **It waits for a lock that is never released,** not by ``time.sleep``. An app may replace the
  functions of ``time`` and those of ``_thread`` independently (gevent); this way the thread and its
  wait are of one kind.
"""

from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from time import monotonic, time

from prefork.errors import StoreError

INTERVAL = 60.0
"""Seconds from the first change that is in no snapshot to the snapshot."""
SNAPSHOT_SHARE = 100
"""A snapshot that took 1 s is followed by the next one after this many seconds at the earliest."""


class SnapshotTimer:
    """Writes snapshots in a thread. ``write`` returns False if another process writes one just now.
    ``last_at`` returns the Unix time of the last snapshot of any process."""

    def __init__(
        self,
        write: Callable[[], bool],
        last_at: Callable[[], float],
        report: Callable[[str], None],
        interval: float,
    ) -> None:
        self._write = write
        self._last_at = last_at
        self._report = report
        self._interval = interval
        self._pause = interval
        self._is_planned = False
        self._is_ended = False

    def plan(self) -> None:
        """Have a snapshot written in time, after a change."""
        if self._is_planned or self._is_ended:
            return
        self._is_planned = True
        try:
            start_new_thread(self._run, ())
        except RuntimeError:  # the limit of threads is reached; the next change tries again
            self._is_planned = False

    def end(self) -> None:
        """Write no more: the store is closed at the end of this process."""
        self._is_ended = True

    def reset_in_child(self) -> None:
        """Forget the thread of the parent, in a child."""
        self._is_planned = False

    def _run(self) -> None:
        self._wait()
        if self._is_ended:
            return
        self._is_planned = False  # a change from now on may miss this snapshot
        began = monotonic()
        try:
            is_written = self._write()
        except FileNotFoundError:
            return  # the folder was removed, as by `prefork delete`
        except (OSError, StoreError) as error:
            self._report(f"cannot write a snapshot of the store: {error}")
            is_written = False
        self._pause = max(self._interval, (monotonic() - began) * SNAPSHOT_SHARE)
        if not is_written:
            self.plan()

    def _wait(self) -> None:
        """Wait until the last snapshot, of any process, is old enough."""
        alarm = allocate_lock()
        alarm.acquire()
        left = self._pause
        while left > 0 and not self._is_ended:
            alarm.acquire(timeout=left)
            age = time() - self._last_at()
            left = self._pause - age if age >= 0 else 0.0  # below 0: the clock was set back
