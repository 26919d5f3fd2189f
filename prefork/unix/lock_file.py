"""Files whose lock, not whose content, says that their owner lives (flock(2)).

The owner may remove such a file, also between somebody's open and lock; that lock means nothing
then. After locking, the process looks whether it is still in its place (``Directory.holds``).
"""

import fcntl
import time

OBSERVER_TIMEOUT = 1.0
"""Seconds in which processes that only look (``is_locked``) let go of a lock, many times over."""


def acquire_lock(fd: int) -> bool:
    """Take the lock until ``fd`` is closed; False: another process holds it.

    Observers hold a shared lock for an instant. They are waited for: otherwise a start beside a
    ``list`` would be told that the app runs.
    """
    deadline = time.monotonic() + OBSERVER_TIMEOUT
    while not _flock(fd, fcntl.LOCK_EX):
        if not _flock(fd, fcntl.LOCK_SH) or time.monotonic() > deadline:
            return False
        fcntl.flock(fd, fcntl.LOCK_UN)
        time.sleep(0.001)
    return True


def is_locked(fd: int) -> bool:
    """Whether somebody holds it. If nobody does, nobody can until ``fd`` is closed."""
    return not _flock(fd, fcntl.LOCK_SH)


def _flock(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
