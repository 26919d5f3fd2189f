"""Rotate the master's own log, if it is in the directory of the workers' output.

Rotated files are ``log.1``, ``log.2`` …, as of any other log.

Design
------
- **The log is copied and truncated, not renamed.** Master, workers and guard all append to it, some
  of them as users that could not open a new file. A line that is written between the end of the
  copy and the truncation is lost (as with ``copytruncate`` of logrotate(8)).
- **Only a log in the directory of the workers' output is rotated,** because the log writer writes
  there anyway.
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
"""Seconds between two checks of the size while the workers write nothing."""

MIN_INTERVAL = 1.0
"""Minimum number of seconds between two checks of the size."""


class MasterLog:
    """The master's log, rotated by the log writer. A log in another directory is left alone."""

    def __init__(self, log: Log, directory: Directory) -> None:
        self._log = log
        self._directory = directory
        self._name = _name_in(directory, log.path)
        self._checked_at = 0.0
        self._last_error = ""

    def seconds_to_check(self) -> float | None:
        """Return the seconds until the next check; None: the log is not rotated here."""
        if not self._name:
            return None
        return max(0.0, self._checked_at + IDLE_INTERVAL - time.monotonic())

    def rotate_if_due(self, rotation: RotationPolicy) -> None:
        """Rotate the log if its size exceeds the limit and the last check is a second ago."""
        now = time.monotonic()
        if not self._name or now < self._checked_at + MIN_INTERVAL:
            return
        self._checked_at = now
        if rotation.size is not None and os.fstat(self._log.fd).st_size > rotation.size:
            self.rotate(rotation)

    def rotate(self, rotation: RotationPolicy) -> None:
        """Rotate the log unless it is empty, and remove the rotated logs beyond the limits."""
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
        """Copy the log to the next rotated name and truncate it. Raises OSError."""
        folder, unfinished = self._directory, f"{self._name}.new"
        source = folder.open_regular(self._name)
        with open(source, "rb") as log:
            # Otherwise a file that another user put in the place of the log would be copied.
            if not os.path.samestat(os.fstat(source), os.fstat(self._log.fd)):
                raise UntrustedFileError("another file is in its place")
            mode = os.fstat(source).st_mode & 0o777
            folder.remove(unfinished)
            try:
                with open(folder.create(unfinished, 0o600), "wb") as copy:
                    os.fchmod(copy.fileno(), mode)
                    shutil.copyfileobj(log, copy, 1024 * 1024)
                    copy.flush()
                    shutil.copyfileobj(log, copy)  # The lines that were written meanwhile.
                    copy.flush()
                    os.ftruncate(self._log.fd, 0)
            except OSError:
                folder.remove(unfinished)
                raise
        number = next_number(list_rotated(folder, self._name))
        folder.rename(unfinished, f"{self._name}.{number}")

    def remove_rotated(self) -> None:
        """Remove the rotated logs. The master truncates the log itself."""
        if self._name:
            with suppress(OSError):
                for old in list_rotated(self._directory, self._name):
                    self._directory.remove(old.name)


def _name_in(directory: Directory, path: str) -> str:
    """Return the name of the file ``path`` in this directory; empty: it is not in it."""
    if not path:
        return ""
    try:
        folder, name = Directory.open_parent(path)
    except OSError:
        return ""
    with folder:
        return name if os.path.samestat(folder.status, directory.status) else ""
