"""Compress the rotated logs of one log, and remove the oldest, in a thread of the log writer.

Lines are written meanwhile. The next log writer finishes work that was interrupted. Only files of
the log writer's own user are compressed: another user could have linked a foreign file to the name
of a rotated log, to get a readable copy.
"""

import gzip
import logging
import os
import shutil
import threading
from contextlib import suppress
from typing import IO

from prefork.observe.log_rotation import (
    RotatedLog,
    RotationPolicy,
    find_rotated,
    next_number,
    select_expired,
)
from prefork.unix.directory import Directory, UntrustedFileError
from prefork.unix.identity import describe_user
from prefork.unix.regular_file import NotRegularFileError

NICE = 10
"""The nice value of the thread, because compressing is not urgent."""


class Archive:
    """The rotated logs of the log ``name`` in a directory.

    ``rotation`` says how many of them to keep, and may be replaced at any time.
    """

    def __init__(
        self, directory: Directory, name: str, rotation: RotationPolicy, logger: logging.Logger
    ) -> None:
        self.rotation = rotation
        self._directory = directory
        self._name = name
        self._logger = logger
        self._last_error = ""
        self._reported: set[str] = set()
        """Names of rotated logs of other users that were reported."""
        self._wakeup = threading.Event()
        self._lock = threading.Lock()
        if (rotation.size, rotation.age) != (None, None):
            # Finish what the previous log writer left. Without rotation, another program, such as
            # logrotate, owns the rotated files.
            self._wakeup.set()
        threading.Thread(target=self._run, daemon=True).start()

    def add(self) -> str:
        """Rename the log to the next rotated name, and return that name. Raises OSError."""
        name = f"{self._name}.{next_number(list_rotated(self._directory, self._name))}"
        self._directory.rename(self._name, name)
        self._wakeup.set()
        return name

    def remove_all(self) -> None:
        """Remove all rotated logs. Raises OSError."""
        with self._lock:
            for old in list_rotated(self._directory, self._name):
                self._remove(old)

    def _run(self) -> None:
        # Keep the writer's nice value if it is higher: only root may lower it.
        nice = max(NICE, os.getpriority(os.PRIO_PROCESS, 0))
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
        except OSError:
            pass  # SystemCallFilter=~@resources of a unit; logs are compressed all the same
        while self._wakeup.wait():
            self._wakeup.clear()
            try:
                self._compress_and_prune()
                self._last_error = ""
            except OSError as error:
                path = self._directory.path / self._name
                why = f"cannot compress or remove the rotated logs of {path}: {error.strerror}"
                if why != self._last_error:
                    self._last_error = why
                    self._logger.error("%s", why)

    def _compress_and_prune(self) -> None:
        for old in list_rotated(self._directory, self._name):
            with self._lock:
                self._prune()
                if not old.is_compressed:
                    self._compress_rotated(old.name)
        with self._lock:
            self._prune()

    def _prune(self) -> None:
        # The log may have been renamed a moment ago, before a new one exists.
        found = self._directory.lstat(self._name)
        current = found.st_size if found is not None else 0
        for old in select_expired(
            self.rotation, list_rotated(self._directory, self._name), current
        ):
            self._remove(old)

    def _compress_rotated(self, name: str) -> None:
        """Compress a rotated log, unless it is another user's file, which is reported once."""
        try:
            source = self._directory.open_regular(name)
        except FileNotFoundError:
            return  # It was removed by ``_prune`` or by another process.
        except (UntrustedFileError, NotRegularFileError, PermissionError) as error:
            self._warn_foreign(name, error.strerror)
            return
        with open(source, "rb") as file:
            owner = os.fstat(source).st_uid
            if owner == os.geteuid():
                with suppress(FileNotFoundError):
                    compress(self._directory, name, file)
            else:
                self._warn_foreign(name, f"it belongs to {describe_user(owner)}")

    def _warn_foreign(self, name: str, why: str | None) -> None:
        if name not in self._reported:
            self._reported.add(name)
            self._logger.warning(
                "%s is not compressed: %s", self._directory.path / name, why or "no access"
            )

    def _remove(self, old: RotatedLog) -> None:
        for name in (old.name, old.name.removesuffix(".gz")):
            with suppress(IsADirectoryError):  # Another user made a directory with this name.
                self._directory.remove(name)


def compress(directory: Directory, name: str, source: IO[bytes]) -> None:
    """Replace the file ``name``, which is open as ``source``, by a compressed copy ``name.gz``.

    The copy has the mode and the times of the file. Raises OSError.
    """
    status = os.fstat(source.fileno())
    unfinished = f"{name}.gz.new"
    directory.remove(unfinished)
    try:
        with open(directory.create(unfinished, 0o600), "wb") as file:
            with gzip.GzipFile("", "wb", 6, file) as packed:
                shutil.copyfileobj(source, packed, 65536)
            os.fchmod(file.fileno(), status.st_mode & 0o777)
            file.flush()
            os.utime(file.fileno(), (status.st_atime, status.st_mtime))
        directory.rename(unfinished, f"{name}.gz")
    except OSError:
        directory.remove(unfinished)
        raise
    directory.remove(name)


def list_rotated(directory: Directory, name: str) -> list[RotatedLog]:
    """List the rotated logs of the log ``name``, oldest first. Raises OSError.

    A file that is renamed while a directory is read may appear under neither name (readdir(3)), so
    the directory is read until two results agree.
    """
    before = _scan(directory, name)
    while (now := _scan(directory, name)) != before:
        before = now
    return now


def _scan(directory: Directory, name: str) -> list[RotatedLog]:
    found = []
    for each in directory.listdir():
        if each.startswith(name) and (status := directory.lstat(each)) is not None:
            found.append((each, status.st_size))
    return find_rotated(name, found)
