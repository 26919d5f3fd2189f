"""A pid file whose lock, not whose content, says that a master runs (flock(2)).

A stale file is simply taken over: its lock died with its owner.
"""

import fcntl
import os

from prefork.errors import MachineError


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
        if _is_at(self._fd, self.path):
            os.unlink(self.path)
        os.close(self._fd)

    def close_copy(self) -> None:
        """In a child: the lock stays with the master alone."""
        os.close(self._fd)


def _open_locked(path: str) -> int:
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise MachineError(f"cannot write the pid file {path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise MachineError(
                f"already running: pid {pid} holds the pid file {path}; "
                f"stop it with `kill {pid}` or choose another --pid-file"
            ) from None
        if _is_at(fd, path):
            return fd
        os.close(fd)  # its last owner removed it between our open and our lock


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
