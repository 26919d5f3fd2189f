"""The rotated logs of one log: a thread of the log writer compresses them and removes the oldest.

Lines go on flowing meanwhile. Work that was interrupted is found and finished by the next writer.
Only files of the writer's own user are compressed: another one could have been put there to be
copied.
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
"""Compressing is not urgent."""


class Archive:
    """Of the log ``name`` in a directory. ``rotation`` may be replaced at any time."""

    def __init__(
        self, directory: Directory, name: str, rotation: RotationPolicy, logger: logging.Logger
    ) -> None:
        self.rotation = rotation
        self._directory = directory
        self._name = name
        self._logger = logger
        self._last_error = ""
        self._reported: set[str] = set()
        """Old logs that are not ours to compress, and that were told of."""
        self._wakeup = threading.Event()
        self._lock = threading.Lock()
        if (rotation.size, rotation.age) != (None, None):
            self._wakeup.set()  # what the last writer left; without rotation it is somebody else's
        threading.Thread(target=self._run, daemon=True).start()

    def add(self) -> str:
        """Put the log away; the name that it has now. Raises OSError."""
        name = f"{self._name}.{next_number(list_rotated(self._directory, self._name))}"
        self._directory.rename(self._name, name)
        self._wakeup.set()
        return name

    def remove_all(self) -> None:
        """Remove all of them. Raises OSError."""
        with self._lock:
            for old in list_rotated(self._directory, self._name):
                self._remove(old)

    def _run(self) -> None:
        # Not above the writer, if that is nicer already: only root may raise a priority.
        nice = max(NICE, os.getpriority(os.PRIO_PROCESS, 0))
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
        while self._wakeup.wait():
            self._wakeup.clear()
            try:
                self._compress_and_prune()
                self._last_error = ""
            except OSError as error:
                path = self._directory.path / self._name
                why = f"cannot tidy the old logs of {path}: {error.strerror}"
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
        # It may have been put away just now, and the next one not be there yet.
        found = self._directory.lstat(self._name)
        current = found.st_size if found is not None else 0
        for old in select_expired(
            self.rotation, list_rotated(self._directory, self._name), current
        ):
            self._remove(old)

    def _compress_rotated(self, name: str) -> None:
        """Another user's file stays as it is, and is told of once."""
        try:
            source = self._directory.open_regular(name)
        except FileNotFoundError:
            return  # it was superfluous, or another process removed it
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
                "%s stays as it is: %s", self._directory.path / name, why or "it is not ours"
            )

    def _remove(self, old: RotatedLog) -> None:
        for name in (old.name, old.name.removesuffix(".gz")):
            with suppress(IsADirectoryError):  # another user's: it is no log
                self._directory.remove(name)


def compress(directory: Directory, name: str, source: IO[bytes]) -> None:
    """Put a compressed copy in the place of the file ``name``, which is open. Raises OSError."""
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
    """The rotated logs of the log ``name``, oldest first. Raises OSError.

    A name that changes while a directory is read may be missed under the old and under the new one
    (readdir(3)), so it is read until two readings agree.
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
