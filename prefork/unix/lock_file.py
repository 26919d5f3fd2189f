"""Files whose lock, not whose content, says that their owner lives (flock(2)).

The owner may remove such a file between another process's open and lock; that lock means nothing
then. So a process that got the lock checks whether the file is still in its place
(``Directory.is_same_file``).
"""

import fcntl
import time

OBSERVER_TIMEOUT = 1.0
"""Seconds within which observers (``is_locked``) have released a lock many times over."""


def acquire_lock(fd: int) -> bool:
    """Take the exclusive lock until ``fd`` is closed; return False if another process holds it.

    Observers hold a shared lock for an instant and are waited for: otherwise a ``start`` beside a
    ``list`` would be told that the app runs.
    """
    deadline = time.monotonic() + OBSERVER_TIMEOUT
    while not _flock(fd, fcntl.LOCK_EX):
        # A shared lock is granted beside observers, but not beside a master.
        if not _flock(fd, fcntl.LOCK_SH) or time.monotonic() > deadline:
            return False
        fcntl.flock(fd, fcntl.LOCK_UN)
        time.sleep(0.001)
    return True


def is_locked(fd: int) -> bool:
    """Return whether another process holds the lock.

    If none does, a shared lock is taken, and no process can take the exclusive one until ``fd`` is
    closed.
    """
    return not _flock(fd, fcntl.LOCK_SH)


def _flock(fd: int, how: int) -> bool:
    """Take or release a lock without waiting; return False if another process prevents it."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
