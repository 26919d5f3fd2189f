"""The master's own log, where it lies beside what the workers print: kept from growing for ever.

Master, workers and guard all append to it, some as users who could not open it again. So it is
copied and emptied instead of renamed, and each goes on where it is; a line that comes between the
last look and the emptying is lost. Old ones are ``log.1``, ``log.2`` …, as of any other log.
"""

import os
import shutil
import stat
import time
from contextlib import suppress

from prefork.observe.log_archive import list_rotated
from prefork.observe.log_rotation import RotationPolicy, next_number, select_expired
from prefork.observe.logger import Log
from prefork.unix.directory import Directory, UntrustedFileError

IDLE_INTERVAL = 10.0
"""Seconds between two looks while nothing else happens."""

MIN_INTERVAL = 1.0
"""And at least while much happens."""


class MasterLog:
    """The log writer keeps it, where it lies in the directory of the writer's own files."""

    def __init__(self, log: Log, directory: Directory) -> None:
        self._log = log
        self._directory = directory
        self._name = _name_in(directory, log.path)
        self._checked_at = 0.0
        self._last_error = ""

    def seconds_to_check(self) -> float | None:
        """Seconds until the next look."""
        if not self._name:
            return None
        return max(0.0, self._checked_at + IDLE_INTERVAL - time.monotonic())

    def rotate_if_due(self, rotation: RotationPolicy) -> None:
        """Rotate it if it is time."""
        now = time.monotonic()
        if not self._name or now < self._checked_at + MIN_INTERVAL:
            return
        self._checked_at = now
        if rotation.size is not None and os.fstat(self._log.fd).st_size > rotation.size:
            self.rotate(rotation)

    def rotate(self, rotation: RotationPolicy) -> None:
        """Put what is in it away, if there is something."""
        if not self._name or not stat.S_ISREG(os.fstat(self._log.fd).st_mode):
            return
        try:
            if os.fstat(self._log.fd).st_size:
                self._copy_and_truncate()
            for old in select_expired(rotation, list_rotated(self._directory, self._name), 0):
                self._directory.remove(old.name)
            self._last_error = ""
        except OSError as error:
            self._log_once(f"cannot rotate {self._log.path}: {error.strerror}")

    def _log_once(self, why: str) -> None:
        if why != self._last_error:
            self._last_error = why
            self._log.logger.error("%s", why)

    def _copy_and_truncate(self) -> None:
        folder, unfinished = self._directory, f"{self._name}.new"
        source = folder.open_regular(self._name)
        with open(source, "rb") as log:
            # Else another user's symlink, or a file that is not the log, would be copied.
            if not os.path.samestat(os.fstat(source), os.fstat(self._log.fd)):
                raise UntrustedFileError("another file is in its place")
            mode = os.fstat(source).st_mode & 0o777
            folder.remove(unfinished)
            try:
                with open(folder.create(unfinished, 0o600), "wb") as copy:
                    os.fchmod(copy.fileno(), mode)
                    shutil.copyfileobj(log, copy, 1024 * 1024)
                    copy.flush()
                    shutil.copyfileobj(log, copy)  # what came meanwhile
                    copy.flush()
                    os.ftruncate(self._log.fd, 0)
            except OSError:
                folder.remove(unfinished)
                raise
        number = next_number(list_rotated(folder, self._name))
        folder.rename(unfinished, f"{self._name}.{number}")

    def remove_rotated(self) -> None:
        """Remove the old ones; the log itself is the master's to empty."""
        if self._name:
            with suppress(OSError):
                for old in list_rotated(self._directory, self._name):
                    self._directory.remove(old.name)


def _name_in(directory: Directory, path: str) -> str:
    """The name of the file in this directory; empty: it is in another one, or there is none."""
    if not path:
        return ""
    try:
        folder, name = Directory.open_parent(path)
    except OSError:
        return ""
    with folder:
        return name if os.path.samestat(folder.status, directory.status) else ""
