"""The rotated logs of one log: a thread of the log writer compresses them and removes the oldest.

Lines go on flowing meanwhile. Whatever is interrupted is found and finished by the next writer.
"""

import gzip
import logging
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path

from prefork.observe.rotation import Old, Rotation, next_number, old_logs, superfluous

NICE = 10
"""Compressing is not urgent."""


class Archive:
    """``rotation`` may be replaced at any time."""

    def __init__(self, path: Path, rotation: Rotation, logger: logging.Logger) -> None:
        self.rotation = rotation
        self._path = path
        self._logger = logger
        self._told = ""
        self._work = threading.Event()
        self._turn = threading.Lock()
        if (rotation.size, rotation.age) != (None, None):
            self._work.set()  # what the last writer left; without rotation it is somebody else's
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, log: Path) -> None:
        """Put the log away under a name of its own. Raises OSError."""
        number = next_number(list_old(self._path))
        os.rename(log, log.with_name(f"{log.name}.{number}"))
        self._work.set()

    def empty(self) -> None:
        """Remove all of them. Raises OSError."""
        with self._turn:
            for old in list_old(self._path):
                self._remove(old)

    def _run(self) -> None:
        # Not above the writer, if that is nicer already: only root may raise a priority.
        nice = max(NICE, os.getpriority(os.PRIO_PROCESS, 0))
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
        while self._work.wait():
            self._work.clear()
            try:
                self._tidy()
                self._told = ""
            except OSError as error:
                why = f"cannot tidy the old logs of {self._path}: {error.strerror}"
                if why != self._told:
                    self._told = why
                    self._logger.error("%s", why)

    def _tidy(self) -> None:
        for old in list_old(self._path):
            with self._turn:
                self._prune()
                if not old.compressed:
                    self._compress(self._path.with_name(old.name))
        with self._turn:
            self._prune()

    def _prune(self) -> None:
        current = 0  # it may have been put away just now, and the next one not be there yet
        with suppress(FileNotFoundError):
            current = os.stat(self._path).st_size
        with suppress(FileNotFoundError):
            for old in superfluous(self.rotation, list_old(self._path), current):
                self._remove(old)

    def _compress(self, plain: Path) -> None:
        unfinished = plain.with_name(f"{plain.name}.gz.new")
        try:
            with open(plain, "rb") as source:
                status = os.fstat(source.fileno())
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = os.open(unfinished, flags, status.st_mode & 0o777)
                with open(fd, "wb") as file, gzip.GzipFile("", "wb", 6, file) as packed:
                    shutil.copyfileobj(source, packed, 65536)
            os.utime(unfinished, (status.st_atime, status.st_mtime))
            os.rename(unfinished, plain.with_name(f"{plain.name}.gz"))
            os.unlink(plain)
        except FileNotFoundError:
            pass  # it was superfluous, or somebody else removed it
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise

    def _remove(self, old: Old) -> None:
        for name in (old.name, old.name.removesuffix(".gz")):
            self._path.with_name(name).unlink(missing_ok=True)


def list_old(path: Path) -> list[Old]:
    """The rotated logs of the log at ``path``, oldest first. Raises OSError.

    A name that changes while a folder is read may be missed under the old and under the new one
    (readdir(3)), so it is read until two readings agree.
    """
    before = _scan(path)
    while (now := _scan(path)) != before:
        before = now
    return now


def _scan(path: Path) -> list[Old]:
    found = []
    for each in os.scandir(path.parent):
        if each.name.startswith(path.name):
            with suppress(FileNotFoundError):
                found.append((each.name, each.stat(follow_symlinks=False).st_size))
    return old_logs(path.name, found)
