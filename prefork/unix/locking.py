"""Files whose lock, not whose content, says that their owner lives (flock(2)).

The owner may remove such a file, also between somebody's open and lock; that lock means nothing
then. So who locks one looks whether it is still in its place.
"""

import fcntl
import os
from pathlib import Path


def lock(fd: int) -> bool:
    """Until it is closed; False: somebody else holds it."""
    return _flock(fd, fcntl.LOCK_EX)


def is_locked(fd: int) -> bool:
    """Whether somebody holds it. If nobody does, nobody can until ``fd`` is closed."""
    return not _flock(fd, fcntl.LOCK_SH)


def is_at(fd: int, path: Path | str) -> bool:
    """Whether this open file is the one that has the name."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def _flock(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
