"""Lines to a file, a pipe or a socket, without ever blocking who makes them.

A thread writes, because nothing else can wait for a disk, and because O_NONBLOCK on an inherited
stdout would change it for everybody who shares it. Between the two is a bounded queue: when a pipe
that nobody reads, or a disk, stalls for too long, lines are dropped, counted, and the count is
logged once it goes on.

Only whole lines are written, each piece by one write(2), so that workers with the same file open
for O_APPEND, or the same pipe, do not tear each other's lines.
"""

import logging
import os
import stat
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from queue import SimpleQueue
from select import PIPE_BUF, select

from prefork.counted import counted
from prefork.errors import MachineError
from prefork.observe.log import reopen_append
from prefork.unix.appending import open_append

MOST_QUEUED = 4 * 1024 * 1024
"""Bytes that may wait for the thread."""

PATIENCE = 1.0
"""Seconds that ``settle`` waits."""


class LineWriter:
    """The thread and its queue, for one descriptor. Made after the fork."""

    def __init__(self, fd: int, name: str, logger: logging.Logger) -> None:
        """``name``: of what is written, for complaints. Raises MachineError."""
        self._fd = fd
        self._name = name
        self._logger = logger
        # Its put() may be called by a signal handler that interrupted a put().
        self._queue: SimpleQueue[bytes | Callable[[], object]] = SimpleQueue()
        # Each counter has one writer: the thread's begin with "done" or "failed".
        self._given = self._done = 0
        self._lines_given = self._lines_done = 0
        self._dropped = self._failed = self._reported = 0
        self._torn = False
        """A write broke off in the middle of a line."""
        self._complained = False
        try:
            # Not by threading: gevent, which an app may import, asks whether there are threads.
            start_new_thread(self._work, ())
        except RuntimeError as error:
            raise MachineError(
                f"cannot start the thread that writes the {name}: {error}"
            ) from error

    def put(self, data: bytes, lines: int) -> None:
        """Whole lines, to be written soon; dropped when too many wait already."""
        if self._given - self._done + len(data) > MOST_QUEUED:
            self._dropped += lines
            return
        self._given += len(data)
        self._lines_given += lines
        self._queue.put(data)

    def call(self, act: Callable[[], object]) -> None:
        """Call it in the thread, between the lines before and those behind."""
        self._queue.put(act)

    def settle(self) -> None:
        """Wait until all was written, but not for ever; safe in a signal handler."""
        settled = allocate_lock()
        settled.acquire()
        self._queue.put(settled.release)
        if not settled.acquire(timeout=PATIENCE):
            left = self._lines_given - self._lines_done + self._dropped
            lines = counted(left, "line")
            self._logger.error("%s: %s could not be written in time", self._name, lines)

    def _work(self) -> None:
        while True:
            item = self._queue.get()
            if isinstance(item, bytes):
                self._write_lines(item)
                self._done += len(item)
                self._lines_done += item.count(b"\n")
                if self._queue.empty():
                    self._report()
            else:
                item()

    def _write_lines(self, data: bytes) -> None:
        start = 0
        while start < len(data):
            end = len(data)
            # What is larger may be mixed with what others write to the same pipe (pipe(7)).
            if end - start > PIPE_BUF and self._is_pipe():
                end = data.rfind(b"\n", start, start + PIPE_BUF) + 1
                end = end or data.index(b"\n", start) + 1
            self._write(data[start:end])
            start = end

    def _is_pipe(self) -> bool:
        try:
            return stat.S_ISFIFO(os.fstat(self._fd).st_mode)
        except OSError:
            return False  # the app closed its stdout: writing will say so

    def _write(self, lines: bytes) -> None:
        data = left = b"\n" + lines if self._torn else lines
        try:
            while left:
                left = self._write_some(left)
        except OSError as error:
            written = data[: len(data) - len(left)]
            if written:
                self._torn = not written.endswith(b"\n")
            self._failed += min(left.count(b"\n"), lines.count(b"\n"))
            if not self._complained:
                self._complained = True
                self._logger.error("cannot write the %s: %s", self._name, error.strerror)
        else:
            self._torn = self._complained = False

    def _write_some(self, data: bytes) -> bytes:
        """What is left of it."""
        try:
            return data[os.write(self._fd, data) :]
        except BlockingIOError:  # somebody who shares it wanted it so
            select([], [self._fd], [])
            return data

    def _report(self) -> None:
        lost = self._dropped + self._failed - self._reported
        if lost and not self._complained:
            self._reported += lost
            lines = counted(lost, "line was lost", "lines were lost")
            self._logger.error("%s: %s while it was stuck", self._name, lines)


def open_lines(path: str) -> int:
    """A descriptor for lines at the end of a file. Raises MachineError.

    A fifo is opened for both directions (fifo(7)): that neither waits for a reader, nor fails when
    one goes and another comes.
    """
    if not _is_fifo(path):
        return open_append(path)
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise MachineError(f"cannot write the log {path}: {error.strerror}") from error


def reopen_lines(path: str, fd: int, logger: logging.Logger) -> None:
    """Follow a rotation; a fifo is what it was."""
    if not _is_fifo(path):
        reopen_append(path, fd, logger)


def _is_fifo(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False  # not there yet, or opening will say why
