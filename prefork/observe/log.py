"""The log of master and workers: to stderr, stdout, or a file to be reopened.

A record is one line, and what belongs to it follows in lines that are indented.

The logger belongs to nobody's hierarchy: an app that configures logging, and disables what it did
not configure, cannot silence the reason why it does not start.
"""

import logging
import os
import sys
from _thread import RLock
from contextlib import suppress
from typing import Any, TextIO

from prefork.errors import MachineError
from prefork.observe.records import as_record
from prefork.printable import printable_line
from prefork.unix.appending import open_append, trust

_FORMAT = "%(asctime)s.%(msecs)03d [%(process)d] %(levelname)s %(message)s"


class _Formatter(logging.Formatter):
    """Writes each record so that no text in it can act on a terminal or begin another record."""

    def format(self, record: logging.LogRecord) -> str:
        """The stamp and the message, with the traceback if there is one."""
        return as_record(super().format(record))


class _Handler(logging.StreamHandler[TextIO]):
    """Says on stderr what it cannot write, instead of a traceback for each line: the disk is full,
    or whoever read our stderr is gone.

    Its lock stays what it is: gevent and eventlet, at the import of an app, would put one in its
    place that threads of the kernel cannot share.
    """

    def __init__(self, stream: TextIO) -> None:
        self._own_lock = RLock()
        super().__init__(stream)

    @property
    def lock(self) -> RLock:
        """Asked by all of logging's methods."""
        return self._own_lock

    @lock.setter
    def lock(self, _lock: Any) -> None:
        """See the class."""

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

    def set_level(self, level: str) -> None:
        """After a reload."""
        self.logger.setLevel(level.upper())

    def reopen(self) -> None:
        """Follow a rotation: the new file takes the place of the old under the same descriptor."""
        if self.path:
            reopen_append(self.path, self.fd, self.logger)


def make_log(path: str, uid: int | None, gid: int | None) -> None:
    """See that the file can be written, and give it to the user who reopens it after a rotation.

    Devices and fifos are left alone; a fifo may lack its reader yet. Raises MachineError.
    """
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        return
    trust(uid)
    fd = open_append(path)
    try:
        status = os.fstat(fd)
        # Neither a symlink nor a hard link: somebody may have put it there to get the file behind.
        own = status.st_nlink == 1 and os.path.samestat(status, os.lstat(path))
        if own and (uid, gid) != (None, None):
            os.fchown(fd, -1 if uid is None else uid, -1 if gid is None else gid)
    except OSError as error:
        raise MachineError(f"cannot hand over the log {path}: {error.strerror}") from error
    finally:
        os.close(fd)


def reopen_append(path: str, fd: int, logger: logging.Logger) -> None:
    """Put a newly opened ``path`` at ``fd``; on failure go on with the old file and say so."""
    try:
        new = open_append(path)
    except MachineError as error:
        logger.error("%s; going on with the old file", error)
        return
    os.dup2(new, fd, inheritable=False)
    os.close(new)
