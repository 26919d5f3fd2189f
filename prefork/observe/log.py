"""The log of master and workers: to stderr, stdout, or a file to be reopened.

A record is one line, and what belongs to it follows in lines that are indented.

The logger belongs to nobody's hierarchy: an app that configures logging, and disables what it did
not configure, cannot silence the reason why it does not start.
"""

import logging
import os
import sys
from contextlib import suppress
from typing import TextIO

from prefork.errors import MachineError
from prefork.observe.records import as_record
from prefork.printable import printable_line
from prefork.unix.appending import give_log, open_append, reopen_append, trust

_FORMAT = "%(asctime)s.%(msecs)03d [%(process)d] %(levelname)s %(message)s"


class _Formatter(logging.Formatter):
    """Writes each record so that no text in it can act on a terminal or begin another record."""

    def format(self, record: logging.LogRecord) -> str:
        """The stamp and the message, with the traceback if there is one."""
        return as_record(super().format(record))


class _Handler(logging.StreamHandler[TextIO]):
    """Says on stderr what it cannot write, instead of a traceback for each line: the disk is full,
    or whoever read our stderr is gone."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Called by emit() in its except clause."""
        with suppress(OSError):
            error = sys.exc_info()[1]
            text = printable_line(f"cannot write the log: {error}: {record.getMessage()}")
            print(f"prefork: {text}", file=sys.stderr)


class Log:
    """``logger`` for writing, ``fd`` for those who write without Python."""

    def __init__(self, level: str, path: str) -> None:
        # A worker that follows a rotation has its own working directory.
        self.path = os.path.abspath(path) if path not in ("", "-") else ""
        if self.path:
            self.fd = open_append(path)
        else:
            self.fd = (sys.stdout if path else sys.stderr).fileno()
        stream = os.fdopen(self.fd, "a", buffering=1, closefd=False, errors="backslashreplace")
        handler = _Handler(stream)
        handler.setFormatter(_Formatter(_FORMAT, "%Y-%m-%d %H:%M:%S"))
        self.logger = logging.Logger("prefork", level.upper())
        # Else logging.disable(), which is meant for the app's own loggers, would reach it.
        self.logger.manager = logging.Manager(logging.RootLogger(logging.WARNING))
        self.logger.addHandler(handler)

    @property
    def file(self) -> int | None:
        """The descriptor, where it is that of a file; None: the log goes to stderr or stdout."""
        return self.fd if self.path else None

    def set_level(self, level: str) -> None:
        """After a reload."""
        self.logger.setLevel(level.upper())

    def reopen(self) -> None:
        """Follow a rotation: the new file takes the place of the old under the same descriptor."""
        if self.path:
            follow_rotation(self.path, self.fd, self.logger)

    def take(self, fd: int) -> None:
        """Go on with what is open at ``fd``, which is closed."""
        os.dup2(fd, self.fd, inheritable=False)
        os.close(fd)

    def empty(self) -> None:
        """Remove all lines. Raises MachineError when another file has the name now."""
        try:
            if not os.path.samestat(os.stat(self.path), os.fstat(self.fd)):
                raise MachineError(
                    f"cannot empty {self.path}: another file is in its place; reopen the logs first"
                )
            os.ftruncate(self.fd, 0)
        except OSError as error:
            raise MachineError(f"cannot empty {self.path}: {error.strerror}") from error


def make_log(path: str, uid: int | None, gid: int | None) -> None:
    """See that the file can be written, and give it to the user who reopens it after a rotation.

    Raises MachineError.
    """
    trust(uid, gid)
    give_log(path)


def follow_rotation(path: str, fd: int, logger: logging.Logger) -> None:
    """Put a newly opened ``path`` at ``fd``; on failure go on with the old file and say so."""
    try:
        reopen_append(path, fd)
    except MachineError as error:
        logger.error("%s; going on with the old file", error)
