"""The lines of one log: those in the file and in its rotated files, and those that are added.

Design
------
- **A follower counts rotated files.** A rotated file keeps its number (observe/log_rotation.py), so
  a follower knows which files it has read, however many rotations happened since it looked.
- **A follower may repeat or miss a line at the moment a log writer is killed.** The next log writer
  cuts off what the write journal does not confirm and writes it again, perhaps with the lines of
  the streams in another order. The files have each line once.
"""

import gzip
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from prefork.errors import MachineError
from prefork.observe.log_archive import list_rotated
from prefork.observe.log_rotation import RotatedLog, next_number
from prefork.unix.directory import Directory, UntrustedFileError, resolve_file
from prefork.unix.identity import describe_user
from prefork.unix.regular_file import NotRegularFileError

READ_SIZE = 1024 * 1024
WINDOWS = (256 * 1024, 8 * 1024 * 1024)
"""Bytes at the end of a file in which the last lines are looked for, before the whole file is read.
"""


class LogFollower:
    """A reader of the log at ``path`` and of its rotated files.

    Methods raise MachineError when it is no log. Root may read everything, so for root a symlink of
    another user is not followed, and no fifo is opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._number = 0
        """The number that the open file gets at its rotation; lower ones are read."""
        self._partial_line = b""
        self._open()

    def read_backwards(self) -> Iterator[list[str]]:
        """Yield the lines so far, again and again, each time with more of them before the first.

        The first list has the lines of the file's last part; the last one those of all rotated
        files, too. ``read_new_lines`` continues after the last of them.
        """
        size = 0 if self._file is None else os.fstat(self._file.fileno()).st_size
        for window in WINDOWS:
            if window < size:
                yield self._lines_so_far(size - window)[1:]
        lines = self._lines_so_far(0)
        yield lines
        for rotated in reversed(self._list_rotated()):
            if rotated.number < self._number:
                lines = [*self._rotated_lines(rotated.number), *lines]
                yield lines

    def read_new_lines(self) -> Iterator[list[str]]:
        """Yield lists of the lines that were added since the last call.

        The files that were rotated since are among them.
        """
        yield from self._read()
        if self._is_replaced():
            yield from self._read()  # lines between the last read and the rotation
            last_read = self._number if self._file is not None else self._number - 1
            self._open()
            for number in range(last_read + 1, self._number):
                yield self._rotated_lines(number)
            yield from self._read()

    def _open(self) -> None:
        """Open the file and find its number.

        A rotation between the two is noticed, and both are repeated.
        """
        # The number is read before and after: if both are equal, no rotation happened in between.
        while True:
            number = self._next_number()
            file = self._open_log()
            if number == self._next_number():
                break
            if file is not None:
                file.close()
        if self._file is not None:
            self._file.close()
        self._file, self._number, self._partial_line = file, number, b""

    def _open_log(self) -> IO[bytes] | None:
        try:
            folder, name = resolve_file(str(self._path), _require_own_link)
            with folder:
                return open(folder.open_regular(name), "rb")
        except FileNotFoundError:
            return None
        except (UntrustedFileError, NotRegularFileError) as error:
            raise MachineError(f"cannot read {self._path}: {error.strerror}") from error

    def _next_number(self) -> int:
        return next_number(self._list_rotated())

    def _list_rotated(self) -> list[RotatedLog]:
        try:
            folder, name = Directory.open_parent(self._path)
            with folder:
                return list_rotated(folder, name)
        except FileNotFoundError:
            return []

    def _lines_so_far(self, start: int) -> list[str]:
        if self._file is None:
            return []
        self._file.seek(start)
        *lines, self._partial_line = self._file.read().split(b"\n")
        return _decode(lines)

    def _read(self) -> Iterator[list[str]]:
        if self._file is None:
            return
        # A file that is shorter than what was read was emptied (copytruncate of logrotate).
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
            self._partial_line = b""
        while data := self._file.read(READ_SIZE):
            *lines, self._partial_line = (self._partial_line + data).split(b"\n")
            if lines:
                yield _decode(lines)

    def _is_replaced(self) -> bool:
        try:
            current = os.stat(self._path)
        except FileNotFoundError:
            return False
        return self._file is None or not os.path.samestat(current, os.fstat(self._file.fileno()))

    def _rotated_lines(self, number: int) -> list[str]:
        folder, name = Directory.open_parent(self._path)
        with folder:
            with suppress(FileNotFoundError), _open_rotated(folder, f"{name}.{number}") as file:
                return _decode(file.read().split(b"\n")[:-1])
            with suppress(FileNotFoundError), _open_rotated(folder, f"{name}.{number}.gz") as file:
                return _decode(gzip.GzipFile(fileobj=file).read().split(b"\n")[:-1])
        return []  # it was the oldest, and was deleted


def _open_rotated(folder: Directory, name: str) -> IO[bytes]:
    try:
        return open(folder.open_regular(name), "rb")
    except (UntrustedFileError, NotRegularFileError):
        raise FileNotFoundError from None  # a file that prefork did not write


def _require_own_link(_folder: Directory, link: os.stat_result) -> None:
    """Raise UntrustedFileError when this process is root and the link belongs to another user.

    Other users may follow each link, because the kernel bounds what they can read.
    """
    if os.geteuid() == 0 != link.st_uid:
        raise UntrustedFileError(f"it is a symlink of {describe_user(link.st_uid)}'s")


def _decode(lines: list[bytes]) -> list[str]:
    """Decode UTF-8; other bytes become lone surrogates (PEP 383).

    Encoded with the same error handler, they become the bytes that they were.
    """
    return [line.decode(errors="surrogateescape") for line in lines]
