"""The file that workers' output goes to: appended by one writer, rotated, emptied, reopened.

A batch is in the file whole or not at all. What the disk does not take is dropped and counted, said
once, and told in the file itself as soon as it takes something again.
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
"""Seconds between two attempts to open a file that cannot be opened."""

LOG_INTERVAL = 60.0
"""Seconds in which it is said only once that lines are dropped."""


class OutputFile:
    """One file in a directory. ``dropped``: lines since the disk took the last one."""

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
        """How records are to be written."""
        return self._archive.rotation.format

    def set_rotation(self, rotation: RotationPolicy) -> None:
        """From now on."""
        self._archive.rotation = rotation

    def inode_and_size(self) -> tuple[int, int]:
        """Which file it is (its inode) and how many bytes it has; zeros: there is none."""
        if self._fd < 0:
            return 0, 0
        status = os.fstat(self._fd)
        return status.st_ino, status.st_size

    def prepare(self, more: int) -> None:
        """Before ``more`` bytes are appended: rotate when it is time, open when it is not open."""
        if self._fd < 0:
            self._open()
            return
        age = time.time() - self._started_at
        if self._archive.rotation.is_due(self.inode_and_size()[1], more, age):
            self.rotate()

    def missing_lines_note(self) -> bytes:
        """What is to be written before the next records: how many are missing there."""
        if not self.dropped:
            return b""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S.000")
        one = "line is missing here, it could not be written"
        many = "lines are missing here, they could not be written"
        text = pluralize(self.dropped, one, many)
        return format_note(self.format, stamp, os.getpid(), text)

    def append(self, data: bytes, lines: int, offset: int) -> None:
        """Add ``data``, with the notice, after the first ``before`` bytes, or drop it."""
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
        with suppress(OSError):
            os.ftruncate(self._fd, offset)
        if not self.dropped:
            self._log_seldom(logging.ERROR, f"cannot be written: {error.strerror}; dropping lines")
        self.dropped += lines

    def _log_seldom(self, level: int, what: str) -> None:
        """A disk that is nearly full takes one batch and not the next; not each time is told."""
        now = time.monotonic()
        if now >= self._silent_until.get(level, 0.0):
            self._silent_until[level] = now + LOG_INTERVAL
            self._logger.log(level, "%s %s", self.path, what)

    def rotate(self) -> None:
        """Put the file away, if there is something in it, and begin a new one."""
        if not self.inode_and_size()[1]:
            return
        try:
            self._archive.add()
        except FileNotFoundError:
            pass  # somebody else rotated it
        except OSError as error:
            self._logger.error("cannot rotate %s: %s; going on", self.path, error.strerror)
            return
        self.reopen()

    def reopen(self) -> None:
        """Whoever renamed the file wants the next lines in a new one; without one, go on here."""
        self._retry_at = 0.0
        self._open()

    def flush(self) -> None:
        """Remove all lines, the rotated ones, too."""
        try:
            if self._fd >= 0:
                os.ftruncate(self._fd, 0)
            self._archive.remove_all()
        except OSError as error:
            self._logger.error("cannot empty %s: %s", self.path, error.strerror)

    def _open(self) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            fd = self._open_own()
        except OSError as error:
            self._retry_at = time.monotonic() + RETRY_INTERVAL
            if isinstance(error, FileNotFoundError):
                with suppress(OSError):  # its directory is gone; perhaps there is another one
                    reopen_directory(self._directory)
            if not self.dropped:
                self._logger.error("cannot open %s: %s", self.path, error.strerror)
            return
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._started_at = _first_line_at(self._directory, self._name, fd)

    def _open_own(self) -> int:
        """Neither through a symlink nor into a file of another user. Raises OSError."""
        flags = os.O_WRONLY | os.O_APPEND
        try:
            if self._is_owned_by_root():
                # A writer that still ran as root left it in the directory of our user.
                self._logger.warning("put away %s, which is root's", self._archive.add())
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


def complete_or_truncate(
    directory: Directory, log: str, inode: int, offset: int, length: int
) -> bool:
    """After a crash: whether ``length`` bytes are there after the first ``before``, in the log or
    in one whose name begins with its name. If not, the part that is, is removed."""
    for name in [log, *(each for each in directory.listdir() if each.startswith(log))]:
        found = directory.lstat(name)
        if found is not None and found.st_ino == inode and stat.S_ISREG(found.st_mode):
            with suppress(OSError):  # another user exchanges names; then the lines are written anew
                return _complete_or_truncate(
                    directory.open_regular(name, os.O_WRONLY), inode, offset, length
                )
    return False


def _complete_or_truncate(fd: int, inode: int, offset: int, length: int) -> bool:
    try:
        status = os.fstat(fd)
        is_whole = status.st_ino == inode and status.st_size >= offset + length
        if status.st_ino == inode and not is_whole and status.st_size > offset:
            os.ftruncate(fd, offset)
        return is_whole
    finally:
        os.close(fd)


def _first_line_at(directory: Directory, name: str, fd: int) -> float:
    """When its first line was written: by its stamp, so that restarts do not make it younger.

    Not by strptime, which imports a module when it is called first: the user that the log writer
    has become may not be able to read it.
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
