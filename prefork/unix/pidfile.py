"""A pid file whose lock, not whose content, says that a master runs (flock(2)).

A stale file is taken over: its lock died with its owner. A file of another user, a symlink or a
hard link is not touched, because other users may write to the folder.
"""

import os
from contextlib import suppress

from prefork.errors import MachineError
from prefork.unix.directory import Directory, UntrustedFileError
from prefork.unix.identity import describe_user
from prefork.unix.lock_file import acquire_lock
from prefork.unix.regular_file import NotRegularFileError


class PidFile:
    """An open and locked pid file that contains the pid of this process. Raises MachineError."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        try:
            self._folder, self._name = Directory.open_parent(self.path)
        except OSError as error:
            raise MachineError(self._cannot(error)) from error
        try:
            self._fd = self._open_locked()
            self._write(f"{os.getpid()}\n".encode())
        except OSError as error:
            self._folder.close()
            raise MachineError(self._cannot(error)) from error
        except BaseException:
            self._folder.close()
            raise

    def descriptors(self) -> dict[str, int]:
        """Return the descriptors of the locked file and its folder, by role."""
        return {"pid_file": self._fd, "pid_file_folder": self._folder.fd}

    def _cannot(self, error: OSError) -> str:
        advice = ""
        if isinstance(error, UntrustedFileError | NotRegularFileError):
            advice = "; remove it or choose another"
        return f"cannot write the pid file {self.path}: {error.strerror}{advice}"

    def _open_locked(self) -> int:
        """Open the file and lock it; return the descriptor. Raises OSError, MachineError."""
        while True:
            fd = self._folder.open_or_create(self._name, os.O_RDWR, 0o644)
            owner = os.fstat(fd).st_uid
            # A file of another user would let that user hold the lock for ever.
            if owner != os.geteuid():
                os.close(fd)
                raise UntrustedFileError(f"it belongs to {describe_user(owner)}")
            if not acquire_lock(fd):
                pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
                os.close(fd)
                raise MachineError(
                    f"already running: pid {pid} holds the pid file {self.path}; "
                    f"stop it with `kill {pid}` or choose another --pid-file"
                )
            if self._folder.is_same_file(self._name, fd):
                return fd
            os.close(fd)  # its last owner removed it between open and lock

    def _write(self, content: bytes) -> None:
        """Write the pid; when the disk is full, remove the file. Raises OSError."""
        try:
            # Write first, truncate second, so that no reader finds an empty file.
            os.pwrite(self._fd, content, 0)
            os.ftruncate(self._fd, len(content))
        except OSError:
            with suppress(OSError):
                self._folder.remove(self._name)
            os.close(self._fd)
            raise

    def close(self) -> None:
        """Remove the file, then release the lock. Called in the master."""
        # Another process may have replaced the file; that one stays.
        if self._folder.is_same_file(self._name, self._fd):
            self._folder.remove(self._name)
        self.close_copy()

    def close_copy(self) -> None:
        """Close a child's copies, so that only the master holds the lock."""
        self._folder.close()
        os.close(self._fd)
