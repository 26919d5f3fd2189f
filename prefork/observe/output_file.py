"""One file of workers' output, which the log writer appends to, rotates, empties and reopens.

A batch is written whole or not at all.

Design
------
- **A full disk drops lines.** The dropped lines are counted, the log says so once a minute, and the
  file itself says how many are missing when it can be written again. A log writer that is stopped
  drops nothing: the pipes of the workers (1 MB each, where the kernel grants it) fill, and after
  that the app waits, as with any stdout.
"""

import logging
import os
import stat
import time
from contextlib import suppress
from datetime import datetime

from prefork.observe.log_archive import Archive
from prefork.observe.log_directory import reopen_directory
from prefork.observe.log_records import format_note, parse_record
from prefork.observe.log_rotation import RotationPolicy
from prefork.plural import pluralize
from prefork.unix.directory import Directory, UntrustedFileError
from prefork.unix.identity import describe_user

RETRY_INTERVAL = 1.0
"""Seconds between two attempts to open a file."""

LOG_INTERVAL = 60.0
"""Seconds in which the log reports dropped lines only once."""


class OutputFile:
    """One file in a directory. ``dropped`` is the number of lines dropped since the last write."""

    def __init__(
        self, directory: Directory, name: str, rotation: RotationPolicy, logger: logging.Logger
    ) -> None:
        self.path = directory.path / name
        self.dropped = 0
        self._directory = directory
        self._name = name
        self._logger = logger
        self._archive = Archive(directory, name, rotation, logger)
        self._fd = -1
        self._started_at = 0.0
        self._retry_at = 0.0
        self._silent_until: dict[int, float] = {}
        self._open()

    @property
    def format(self) -> str:
        """The format of the records: ``text`` or ``json``."""
        return self._archive.rotation.format

    def set_rotation(self, rotation: RotationPolicy) -> None:
        """Use another policy from now on."""
        self._archive.rotation = rotation

    def inode_and_size(self) -> tuple[int, int]:
        """Return the inode and the size of the open file; zeros if none is open."""
        if self._fd < 0:
            return 0, 0
        status = os.fstat(self._fd)
        return status.st_ino, status.st_size

    def prepare(self, more: int) -> None:
        """Prepare an append of ``more`` bytes: open the file, or rotate it if that is due."""
        if self._fd < 0:
            self._open()
            return
        age = time.time() - self._started_at
        if self._archive.rotation.is_due(self.inode_and_size()[1], more, age):
            self.rotate()

    def missing_lines_note(self) -> bytes:
        """Return a record that says how many lines are missing at this place; empty for none."""
        if not self.dropped:
            return b""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S.000")
        one = "line is missing here, it could not be written"
        many = "lines are missing here, they could not be written"
        text = pluralize(self.dropped, one, many)
        return format_note(self.format, stamp, os.getpid(), text)

    def append(self, data: bytes, lines: int, offset: int) -> None:
        """Append ``data``, which holds ``lines`` lines, at ``offset``, or drop it."""
        if self._fd < 0:
            self.dropped += lines
            return
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            self._drop(lines, offset, error)
            return
        if self.dropped:
            lost = pluralize(self.dropped, "line was dropped", "lines were dropped")
            self._log_seldom(logging.WARNING, f"is written again; {lost}")
            self.dropped = 0

    def _drop(self, lines: int, offset: int, error: OSError) -> None:
        # A part of the batch may be in the file; it is removed, so that no line is half written.
        with suppress(OSError):
            os.ftruncate(self._fd, offset)
        if not self.dropped:
            self._log_seldom(logging.ERROR, f"cannot be written: {error.strerror}; dropping lines")
        self.dropped += lines

    def _log_seldom(self, level: int, what: str) -> None:
        """Log a message, once a minute for each level: a nearly full disk takes some batches."""
        now = time.monotonic()
        if now >= self._silent_until.get(level, 0.0):
            self._silent_until[level] = now + LOG_INTERVAL
            self._logger.log(level, "%s %s", self.path, what)

    def rotate(self) -> None:
        """Rename the file to a rotated name and begin a new one, unless it is empty."""
        if not self.inode_and_size()[1]:
            return
        try:
            self._archive.add()
        except FileNotFoundError:
            pass  # Another program renamed it.
        except OSError as error:
            self._logger.error("cannot rotate %s: %s; keeping this file", self.path, error.strerror)
            return
        self.reopen()

    def reopen(self) -> None:
        """Open the path again, after the file was renamed; on failure keep the old file."""
        self._retry_at = 0.0
        self._open()

    def flush(self) -> None:
        """Truncate the file and remove the rotated ones."""
        try:
            if self._fd >= 0:
                os.ftruncate(self._fd, 0)
            self._archive.remove_all()
        except OSError as error:
            self._logger.error("cannot empty %s: %s", self.path, error.strerror)

    def _open(self) -> None:
        """Open or create the file; on failure log it, and keep the old file if one is open."""
        if time.monotonic() < self._retry_at:
            return
        try:
            fd = self._open_own()
        except OSError as error:
            self._retry_at = time.monotonic() + RETRY_INTERVAL
            if isinstance(error, FileNotFoundError):
                with suppress(OSError):  # The directory is gone; perhaps it was replaced.
                    reopen_directory(self._directory)
            if not self.dropped:
                self._logger.error("cannot open %s: %s", self.path, error.strerror)
            return
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._started_at = _first_line_at(self._directory, self._name, fd)

    def _open_own(self) -> int:
        """Open or create the file, but no symlink and no file of another user. Raises OSError."""
        flags = os.O_WRONLY | os.O_APPEND
        try:
            if self._is_owned_by_root():
                # A log writer that ran as root left it in the directory of this user.
                self._logger.warning("renamed a log of root to %s", self._archive.add())
            fd = self._directory.open_regular(self._name, flags)
        except FileNotFoundError:
            return self._directory.create(self._name, 0o640, flags)
        owner = os.fstat(fd).st_uid
        if owner != os.geteuid():
            os.close(fd)
            raise UntrustedFileError(f"it belongs to {describe_user(owner)}")
        return fd

    def _is_owned_by_root(self) -> bool:
        found = self._directory.lstat(self._name)
        return os.geteuid() != 0 and found is not None and found.st_uid == 0


def undo_partial_write(
    directory: Directory, log: str, inode: int, offset: int, length: int
) -> bool:
    """Undo the last write of a log writer that crashed, unless the write was complete.

    Returns whether it was complete: whether the file ``inode`` has ``length`` bytes after its first
    ``offset`` bytes. If not, the file is truncated to ``offset``. The file is searched under the
    name ``log``, and under all names that begin with it, because it may have been rotated.
    """
    for name in [log, *(each for each in directory.listdir() if each.startswith(log))]:
        found = directory.lstat(name)
        if found is not None and found.st_ino == inode and stat.S_ISREG(found.st_mode):
            # A user who exchanges the file meanwhile causes an error; the lines are written again.
            with suppress(OSError):
                return _undo_partial_write(
                    directory.open_regular(name, os.O_WRONLY), inode, offset, length
                )
    return False


def _undo_partial_write(fd: int, inode: int, offset: int, length: int) -> bool:
    try:
        status = os.fstat(fd)
        is_whole = status.st_ino == inode and status.st_size >= offset + length
        if status.st_ino == inode and not is_whole and status.st_size > offset:
            os.ftruncate(fd, offset)
        return is_whole
    finally:
        os.close(fd)


def _first_line_at(directory: Directory, name: str, fd: int) -> float:
    """Return the Unix time of the first line, from its stamp, so that a restart keeps the age.

    strptime is not used, because its first call imports a module, which the user that the log
    writer has become may not be able to read.
    """
    status = os.fstat(fd)
    if status.st_size:
        with suppress(OSError):
            with open(directory.open_regular(name), errors="replace") as file:
                record = parse_record(file.readline(65536).rstrip("\n"))
            if record is not None:
                with suppress(ValueError, OverflowError):
                    return datetime.fromisoformat(record.time[:19]).timestamp()
        return status.st_mtime
    return time.time()
