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
from pathlib import Path

from prefork.observe.archive import list_old
from prefork.observe.log import Log
from prefork.observe.rotation import Rotation, next_number, superfluous

SELDOM = 10.0
"""Seconds between two looks while nothing else happens."""

OFTEN = 1.0
"""And at least while much happens."""


class OwnLog:
    """For one who has nothing better to do: the log writer. ``folder``: where its own files are."""

    def __init__(self, log: Log, folder: Path) -> None:
        self._log = log
        path = Path(log.path) if log.path else None
        self._path = path if path is not None and path.parent == folder else None
        self._looked = 0.0

    def patience(self) -> float | None:
        """Seconds until the next look."""
        if self._path is None:
            return None
        return max(0.0, self._looked + SELDOM - time.monotonic())

    def settle(self, rotation: Rotation) -> None:
        """Rotate it if it is time."""
        now = time.monotonic()
        if self._path is None or now < self._looked + OFTEN:
            return
        self._looked = now
        if rotation.size is not None and os.fstat(self._log.fd).st_size > rotation.size:
            self.rotate(rotation)

    def rotate(self, rotation: Rotation) -> None:
        """Put what is in it away, if there is something."""
        if self._path is None or not stat.S_ISREG(os.fstat(self._log.fd).st_mode):
            return
        try:
            if os.fstat(self._log.fd).st_size:
                self._put_away(self._path)
            for old in superfluous(rotation, list_old(self._path), 0):
                self._path.with_name(old.name).unlink(missing_ok=True)
        except OSError as error:
            self._log.logger.error("cannot rotate %s: %s", self._path, error.strerror)

    def _put_away(self, path: Path) -> None:
        unfinished = path.with_name(f"{path.name}.new")
        unfinished.unlink(missing_ok=True)
        mode = os.fstat(self._log.fd).st_mode & 0o777
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(path, "rb") as source, open(os.open(unfinished, flags, mode), "wb") as copy:
            shutil.copyfileobj(source, copy, 1024 * 1024)
            copy.flush()
            shutil.copyfileobj(source, copy)  # what came meanwhile
            copy.flush()
            os.ftruncate(self._log.fd, 0)
        os.rename(unfinished, path.with_name(f"{path.name}.{next_number(list_old(path))}"))

    def empty(self) -> None:
        """Remove the old ones; the log itself is the master's to empty."""
        if self._path is not None:
            with suppress(OSError):
                for old in list_old(self._path):
                    self._path.with_name(old.name).unlink(missing_ok=True)
