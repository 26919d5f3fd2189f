"""The log of master and workers: to stderr, stdout, or a file to be reopened.

A record is one line, and what belongs to it follows in lines that are indented.

The logger belongs to nobody's hierarchy: an app that configures logging, and disables what it did
not configure, cannot silence the reason why it does not start.
"""

import logging
import os
import stat
from _thread import RLock
from collections.abc import Callable
from typing import Any

from prefork.errors import MachineError
from prefork.observe.line_writer import LineWriter, RoomNotifier
from prefork.observe.log_records import format_record
from prefork.plural import pluralize
from prefork.printable import printable_line, printable_text
from prefork.unix.append_file import open_append, prepare_log, reopen_append, set_worker_user
from prefork.unix.daemon import redirect_output
from prefork.unix.nonblocking_writer import (
    NonblockingWriter,
    reopen_nonblocking,
    write_with_timeout,
)
from prefork.unix.streams import StandardDescriptors

_FORMAT = "%(asctime)s.%(msecs)03d [%(process)d] %(levelname)s %(message)s"

MAX_QUEUED = 256 * 1024
"""Bytes of a process's records that wait while nothing reads them; the next ones are dropped."""


class _Formatter(logging.Formatter):
    """Writes each record so that no text in it can act on a terminal or begin another record."""

    def format(self, record: logging.LogRecord) -> str:
        """The stamp and the message, with the traceback if there is one."""
        return format_record(super().format(record))


class _Handler(logging.Handler):
    """Gives each record to ``put`` as whole lines.

    Its lock stays what it is: gevent and eventlet, at the import of an app, would put one in its
    place that threads of the kernel cannot share.
    """

    def __init__(self, put: Callable[[bytes], None]) -> None:
        self._own_lock = RLock()
        super().__init__()
        self._put = put

    @property
    def lock(self) -> RLock:
        """Asked by all of logging's methods."""
        return self._own_lock

    @lock.setter
    def lock(self, _lock: Any) -> None:
        """See the class."""

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging, with the handler's lock."""
        try:
            self._put(self.format(record).encode("utf-8", "backslashreplace") + b"\n")
        except Exception:
            self.handleError(record)


class Log:
    """``logger`` for writing, ``fd`` for code that writes without Python. No write waits for a
    reader (line_writer.py): what does not fit is dropped, counted, and told in the log itself.

    ``file``: the descriptor of the file, for a stdout or stderr that is to go there; None: the log
    goes to stderr or stdout. Of a fifo it is another description than ``fd``: an app's ``print``
    is to wait for the reader, and not to fail.
    """

    def __init__(self, level: str, path: str) -> None:
        # A worker that follows a rotation has its own working directory.
        self.path = os.path.abspath(path) if path not in ("", "-") else ""
        self._stream = 1 if path else 2
        self.file = open_append(path) if self.path else None
        try:
            self.fd = reopen_nonblocking(self._source)
        except OSError as error:
            raise MachineError(f"cannot write the log: {error.strerror}") from error
        self.line_writer = LineWriter(
            NonblockingWriter(self.fd), MAX_QUEUED, self._log_lost, self._report_error
        )
        self._handler = _Handler(self.line_writer.put)
        self._handler.setFormatter(_Formatter(_FORMAT, "%Y-%m-%d %H:%M:%S"))
        self.logger = logging.Logger("prefork", level.upper())
        # Else logging.disable(), which is meant for the app's own loggers, would reach it.
        self.logger.manager = logging.Manager(logging.RootLogger(logging.WARNING))
        self.logger.addHandler(self._handler)

    @property
    def _source(self) -> int:
        """What the lines go to, as others have it open."""
        return self._stream if self.file is None else self.file

    def _log_lost(self, count: int) -> None:
        """Also where the minimum log level is above a warning: the log is incomplete."""
        lines = pluralize(count, "line of this log was", "lines of this log were")
        text = f"{lines} dropped while it could not be written"
        record = self.logger.makeRecord(
            "prefork", logging.WARNING, __file__, 0, text, (), exc_info=None
        )
        self._handler.emit(record)

    def _report_error(self, error: OSError, lines: bytes, _first: bool) -> None:
        """On stderr, if that is another place: the disk is full, or no process reads stdout."""
        if self._stream == 1:
            record = lines.decode("utf-8", "replace").rstrip("\n").split(" ", 4)[-1]
            self.tell_on_stderr(printable_line(f"cannot write the log: {error}: {record}"))

    def tell_on_stderr(self, text: str) -> None:
        """For a person at the terminal, if the log is elsewhere; without waiting for a reader."""
        data = f"prefork: {printable_text(text)}\n".encode("utf-8", "backslashreplace")
        write_with_timeout(2, data)

    def set_level(self, level: str) -> None:
        """After a reload."""
        self.logger.setLevel(level.upper())

    def use_watcher(self, watcher: RoomNotifier) -> None:
        """In the master: its loop writes what had no room."""
        self.line_writer.use_watcher(watcher)

    def flush(self) -> None:
        """Before the end: wait a moment until all is written."""
        self.line_writer.flush()

    def reopen(self) -> None:
        """Follow a rotation: the new file takes the place of the old under the same descriptors."""
        if self.file is not None and reopen_file(self.path, self.file, self.logger):
            self._reopen()

    def adopt(self, fd: int) -> None:
        """Go on with what is open at ``fd``, which is closed."""
        if self.file is not None:
            os.dup2(fd, self.file, inheritable=False)
            self._reopen()
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

    def detach_terminal(self, before: StandardDescriptors | None = None) -> list[int]:
        """Let go of the terminal: stdout and stderr of this process go to the log's file, or
        nowhere when it has none. Returns those that belong to an app since ``before``."""
        left_alone = redirect_output(self.file, before)
        self.reopen_streams()
        return left_alone

    def reopen_streams(self) -> None:
        """Another file took the place of this process's stdout or stderr: write there as well."""
        if self.file is None:
            self._reopen()

    def _reopen(self) -> None:
        self.line_writer.stop_watching()
        reopen_descriptor(self._source, self.fd, self.logger)
        self.line_writer.resume()


def create_log_file(path: str, uid: int | None, gid: int | None) -> None:
    """See that the file can be written, and give it to the user who reopens it after a rotation.

    Raises MachineError.
    """
    set_worker_user(uid, gid)
    prepare_log(path)


def open_line_file(path: str) -> int:
    """A descriptor for lines at the end of a file, which does not block for a reader. Raises
    MachineError."""
    fd = open_append(path)
    _set_nonblocking(fd)
    return fd


def reopen_line_file(path: str, fd: int, logger: logging.Logger) -> None:
    """Put a newly opened ``path`` at ``fd``; on failure go on with the old file and say so."""
    if reopen_file(path, fd, logger):
        _set_nonblocking(fd)


def _set_nonblocking(fd: int) -> None:
    """Of a fifo, a terminal, or /dev/stderr: this description is new, and no process shares it."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.set_blocking(fd, False)


def reopen_file(path: str, fd: int, logger: logging.Logger) -> bool:
    """Put a newly opened ``path`` at ``fd``; on failure go on with the old file, say so, and return
    False."""
    try:
        reopen_append(path, fd)
    except MachineError as error:
        logger.error("%s; going on with the old file", error)
        return False
    return True


def reopen_descriptor(source: int, fd: int, logger: logging.Logger) -> None:
    """Put a new description of what ``source`` leads to now at ``fd``."""
    try:
        new = reopen_nonblocking(source)
    except OSError as error:  # the app closed it
        logger.error("cannot follow descriptor %d: %s", source, error.strerror)
        return
    os.dup2(new, fd, inheritable=False)
    os.close(new)
