"""A pid file whose lock, not whose content, says that a master runs (flock(2)).

A stale file is simply taken over: its lock died with its owner. One that is not ours, or leads
elsewhere, is not touched: its folder may be one that others write to.
"""

import os
import stat

from prefork.errors import MachineError
from prefork.unix.identity import user_name
from prefork.unix.locking import is_at, lock


class PidFile:
    """An open and locked pid file with our pid in it. Raises MachineError."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self._fd = _open_locked(self.path)
        content = f"{os.getpid()}\n".encode()
        # In this order nobody who looks meanwhile finds an empty file.
        os.pwrite(self._fd, content, 0)
        os.ftruncate(self._fd, len(content))

    def close(self) -> None:
        """In the master: remove it, then let go of the lock."""
        if is_at(self._fd, self.path):
            os.unlink(self.path)
        os.close(self._fd)

    def close_copy(self) -> None:
        """In a child: the lock stays with the master alone."""
        os.close(self._fd)


def _open_locked(path: str) -> int:
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            why = (
                "it is a symlink; remove it or choose another"
                if os.path.islink(path)
                else error.strerror
            )
            raise MachineError(f"cannot write the pid file {path}: {why}") from error
        _require_own(fd, path)
        if not lock(fd):
            pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise MachineError(
                f"already running: pid {pid} holds the pid file {path}; "
                f"stop it with `kill {pid}` or choose another --pid-file"
            )
        if is_at(fd, path):
            return fd
        os.close(fd)  # its last owner removed it between our open and our lock


def _require_own(fd: int, path: str) -> None:
    found = os.fstat(fd)
    why = ""
    if not stat.S_ISREG(found.st_mode):
        why = "it is no file"
    elif found.st_uid != os.geteuid():
        why = f"it belongs to {user_name(found.st_uid)}"
    elif found.st_nlink > 1:
        why = "it is a hard link to something else"
    if why:
        os.close(fd)
        raise MachineError(f"cannot write the pid file {path}: {why}; remove it or choose another")
