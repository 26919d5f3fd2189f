"""The log of a master and its workers, written to stderr, stdout, or a file that can be reopened.

A record is one line. The further lines of a message are indented. In a service of systemd records
go to the journal (journal_log.py). With ``--log-format json`` a
record is an object of JSON (log_records.py).

Design
------
- **The logger is outside of logging's hierarchy,** so that an app that configures logging and
  disables existing loggers cannot suppress the reason why it does not start.
- **A log that is a fifo is opened twice.** The descriptor of the records does not block. That of an
  app's stdout does, because a ``print`` that raises BlockingIOError would break the app.
"""

import logging
import os
import stat
from _thread import RLock
from collections.abc import Callable
from typing import Any

from prefork.errors import MachineError
from prefork.observe.journal_log import JournalLog, PrefixFormatter, prefix_error
from prefork.observe.line_writer import LineWriter, RoomNotifier
from prefork.observe.log_records import format_log_json, format_record, format_stamp
from prefork.plural import pluralize
from prefork.printable import printable_line, printable_text
from prefork.unix.append_file import open_append, prepare_log, reopen_append, set_worker_user
from prefork.unix.daemon import redirect_output
from prefork.unix.journal import JournalSocket, is_journal_stream
from prefork.unix.nonblocking_writer import (
    NonblockingWriter,
    reopen_nonblocking,
    write_with_timeout,
)
from prefork.unix.streams import StandardDescriptors

_FORMAT = "%(asctime)s [%(process)d] %(levelname)s %(message)s"

MAX_QUEUED = 256 * 1024
"""Maximum number of bytes of records that wait in a process; further records are dropped."""


class _TextFormatter(logging.Formatter):
    """Formats records so that no text in them can control a terminal or look like a record."""

    def __init__(self) -> None:
        super().__init__(_FORMAT)

    def formatTime(  # noqa: N802 - the name is logging's
        self,
        record: logging.LogRecord,
        datefmt: str | None = None,  # noqa: ARG002
    ) -> str:
        """Return the time stamp."""
        return format_stamp(record.created)

    def format(self, record: logging.LogRecord) -> str:
        """Return the time stamp and the message, with the traceback if there is one."""
        return format_record(super().format(record))


class _JsonFormatter(logging.Formatter):
    """Formats records as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return an object with the message, and the traceback if there is one."""
        stamp, pid = format_stamp(record.created), record.process or 0
        return format_log_json(stamp, pid, record.levelname, super().format(record))


_FORMATTERS: dict[str, type[logging.Formatter]] = {"text": _TextFormatter, "json": _JsonFormatter}


class _Handler(logging.Handler):
    """Passes each record to ``write``.

    Its lock cannot be replaced: when an app is imported, gevent and eventlet would exchange it for
    a lock that native threads cannot share.
    """

    def __init__(self, write: Callable[[logging.LogRecord], None]) -> None:
        self._own_lock = RLock()
        super().__init__()
        self._write = write

    @property
    def lock(self) -> RLock:
        """The lock that all methods of logging use."""
        return self._own_lock

    @lock.setter
    def lock(self, _lock: Any) -> None:
        """Ignore an attempt to replace the lock, see the class."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; logging calls this with the lock held."""
        try:
            self._write(record)
        except Exception:
            self.handleError(record)


class Log:
    """The log of one process: ``logger`` writes records, ``fd`` is for code that writes natively.

    No write waits for a reader: records that do not fit into the buffer are dropped, and the log
    then says how many (line_writer.py).

    ``file`` is the descriptor of the log file, to which stdout and stderr are redirected; None: the
    log goes to stderr or stdout. For a fifo, ``file`` blocks and ``fd`` does not.
    """

    def __init__(self, level: str, path: str, kind: str = "text") -> None:
        """``kind``: text or json."""
        # An absolute path, because a worker that reopens the log may have another directory.
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
        self._handler = _Handler(self._write)
        self._journal = self._open_journal()
        self.set_format(kind)
        self.logger = logging.Logger("prefork", level.upper())
        # Without a manager of its own, logging.disable() in the app would apply to this logger.
        self.logger.manager = logging.Manager(logging.RootLogger(logging.WARNING))
        self.logger.addHandler(self._handler)

    @property
    def _source(self) -> int:
        """The descriptor that ``fd`` was made from."""
        return self._stream if self.file is None else self.file

    def _open_journal(self) -> JournalLog | None:
        """Return the way to the journal; None: the log does not go there."""
        if not self._is_in_journal:
            return None
        try:
            journal = JournalSocket()
        except OSError:
            return None  # the stream leads there as well
        return JournalLog(journal, MAX_QUEUED, self._log_lost, self.line_writer.put)

    @property
    def _is_in_journal(self) -> bool:
        """Return whether the log goes to a stream that leads to the journal."""
        return self.file is None and is_journal_stream(os.environ, self._stream)

    def identify(self, app: str, slot: int | None = None, generation: int | None = None) -> None:
        """Set the fields of this process in the journal: its app, slot and generation."""
        if self._journal is not None:
            known = {"APP": app, "SLOT": slot, "GENERATION": generation}
            fields = {
                f"PREFORK_{key}": str(each) for key, each in known.items() if each is not None
            }
            self._journal.fields = fields

    def _write(self, record: logging.LogRecord) -> None:
        if self._journal is not None and not self._is_json:
            self._journal.put(record)
            return
        line = self._handler.format(record)
        self.line_writer.put(line.encode("utf-8", "backslashreplace") + b"\n")

    def _log_lost(self, count: int) -> None:
        """Log the number of dropped lines, at any minimum log level: the log is incomplete."""
        lines = pluralize(count, "line of this log was", "lines of this log were")
        text = f"{lines} dropped while it could not be written"
        self._handler.emit(self._make_record(logging.WARNING, text))

    def _make_record(self, level: int, text: str) -> logging.LogRecord:
        return self.logger.makeRecord("prefork", level, __file__, 0, text, (), exc_info=None)

    def _report_error(self, error: OSError, lines: bytes, _first: bool) -> None:
        """Write a record that the log does not take, because of a full disk, to stderr instead."""
        if self._stream == 1:
            record = lines.decode("utf-8", "replace").rstrip("\n")
            if not self._is_json:
                record = record.split(" ", 4)[-1]
            self.tell_on_stderr(printable_line(f"cannot write the log: {error}: {record}"))

    def tell_on_stderr(self, text: str) -> None:
        """Write a message for the operator to stderr, without waiting for a reader."""
        line = f"prefork: {printable_text(text)}"
        if self._is_json:
            line = self._handler.format(self._make_record(logging.ERROR, text))
        elif is_journal_stream(os.environ, 2):
            line = prefix_error(line)
        write_with_timeout(2, f"{line}\n".encode("utf-8", "backslashreplace"))

    def set_level(self, level: str) -> None:
        """Set the minimum log level, after a reload."""
        self.logger.setLevel(level.upper())

    def set_format(self, kind: str) -> None:
        """Set the format of the records, text or json, after a reload."""
        self._is_json = kind == "json"
        in_journal = self._is_in_journal and not self._is_json
        self._handler.setFormatter(PrefixFormatter() if in_journal else _FORMATTERS[kind]())

    def use_watcher(self, watcher: RoomNotifier) -> None:
        """Write waiting records from the loop of this process; for the master."""
        self.line_writer.use_watcher(watcher)
        if self._journal is not None:
            self._journal.writer.use_watcher(watcher)

    def flush(self) -> None:
        """Wait until all records are written, for a second at most, before the process exits."""
        if self._journal is not None:
            self._journal.writer.flush()
        self.line_writer.flush()

    def reopen(self) -> None:
        """Open the log file again after a rotation, under the same descriptors."""
        if self.file is not None and reopen_file(self.path, self.file, self.logger):
            self._reopen()

    def descriptors(self) -> dict[str, int]:
        """Return the descriptors of the log, by role."""
        own = {"log": self.fd}
        if self._journal is not None:
            own["journal"] = self._journal.fd
        return own if self.file is None else {**own, "log_file": self.file}

    def adopt(self, fd: int) -> None:
        """Replace the log file by the file that is open at ``fd``, and close ``fd``."""
        if self.file is not None:
            os.dup2(fd, self.file, inheritable=False)
            self._reopen()
        os.close(fd)

    def empty(self) -> None:
        """Truncate the log file. Raises MachineError if its path leads to another file now."""
        try:
            if not os.path.samestat(os.stat(self.path), os.fstat(self.fd)):
                raise MachineError(
                    f"cannot empty {self.path}: another file is in its place; reopen the logs first"
                )
            os.ftruncate(self.fd, 0)
        except OSError as error:
            raise MachineError(f"cannot empty {self.path}: {error.strerror}") from error

    def detach_terminal(self, before: StandardDescriptors | None = None) -> list[int]:
        """Redirect stdout and stderr of this process to the log file, or to /dev/null without one.

        Returns the descriptors that an app has replaced since ``before``, which are left alone.
        """
        left_alone = redirect_output(self.file, before)
        self.reopen_streams()
        return left_alone

    def reopen_streams(self) -> None:
        """Write to the new stdout or stderr of this process, after it was replaced."""
        if self.file is None:
            self._reopen()

    def _reopen(self) -> None:
        self.line_writer.stop_watching()
        reopen_descriptor(self._source, self.fd, self.logger)
        self.line_writer.resume()
        if self._journal is not None and not self._is_in_journal:
            self._journal.close()
            self._journal = None  # stdout and stderr lead elsewhere now
        self.set_format("json" if self._is_json else "text")


def create_log_file(path: str, uid: int | None, gid: int | None) -> None:
    """Create a log file if necessary, and give it to the user that reopens it after a rotation.

    Raises MachineError if it cannot be written.
    """
    set_worker_user(uid, gid)
    prepare_log(path)


def open_line_file(path: str) -> int:
    """Open a file for appending lines; a fifo or terminal does not block. Raises MachineError."""
    fd = open_append(path)
    _set_nonblocking(fd)
    return fd


def reopen_line_file(path: str, fd: int, logger: logging.Logger) -> None:
    """Open ``path`` again as ``fd``, without blocking; on failure log it and keep the old file."""
    if reopen_file(path, fd, logger):
        _set_nonblocking(fd)


def _set_nonblocking(fd: int) -> None:
    """Make a descriptor of a fifo or a terminal non-blocking.

    O_NONBLOCK belongs to the open file description; this one is new, so no other process shares it.
    """
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.set_blocking(fd, False)


def reopen_file(path: str, fd: int, logger: logging.Logger) -> bool:
    """Open ``path`` again as ``fd``; on failure log it, keep the old file, and return False."""
    try:
        reopen_append(path, fd)
    except MachineError as error:
        logger.error("%s; going on with the old file", error)
        return False
    return True


def reopen_descriptor(source: int, fd: int, logger: logging.Logger) -> None:
    """Open the file that the descriptor ``source`` now leads to again, as ``fd``."""
    try:
        new = reopen_nonblocking(source)
    except OSError as error:  # The app closed the descriptor.
        logger.error("cannot reopen descriptor %d: %s", source, error.strerror)
        return
    os.dup2(new, fd, inheritable=False)
    os.close(new)
