"""Lines to a file, a pipe, a terminal or a socket, without ever blocking the process that has them.

What has no room waits in a bounded buffer. What does not fit there is dropped and counted, and the
count is told once the reader reads again. The buffer is written on when there is room: in the
master by its loop, because a process that forks has no threads; in other processes by a thread that
lives as long as there is something to write. Regular files are written at once, except where the
writer has a thread of its own, because a disk may stall: the access log has.

Only whole lines are written, each piece by one write(2), so that processes with the same file open
for O_APPEND, or the same pipe, do not tear each other's lines.
"""

import _thread
import os
import signal
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from select import PIPE_BUF
from time import monotonic
from typing import Protocol

from prefork.errors import MachineError
from prefork.unix.nonblocking_writer import NonblockingWriter

# Taken before an app is imported, which may replace them (gevent does).
_start_thread = _thread.start_new_thread
_allocate_lock = _thread.allocate_lock

FLUSH_TIMEOUT = 1.0
"""Seconds that ``settle`` waits."""


class RoomNotifier(Protocol):
    """The loop of a process without threads."""

    def add_writer(self, fd: int, react: Callable[[], object]) -> None:
        """Call ``react()`` whenever ``fd`` can be written."""

    def remove(self, fd: int) -> None:
        """Do so no more."""


class LineWriter:
    """The buffer in front of one sink. Safe in threads, in signal handlers and after a fork: a
    child begins with an empty buffer, because what waits is its parent's to write.

    ``most``: bytes that may wait. ``on_lost`` is told how many lines were dropped, once all that
    waited is written. ``on_error`` is told why a piece cannot be written, the piece, and whether
    this is the first one since the last success.
    """

    def __init__(
        self,
        sink: NonblockingWriter,
        max_queued: int,
        on_lost: Callable[[int], None],
        on_error: Callable[[OSError, bytes, bool], None],
    ) -> None:
        self._sink = sink
        self._max_queued = max_queued
        self._on_lost = on_lost
        self._on_error = on_error
        self._may_use_threads = False
        """This process may have threads: it is a child of the one that made this object."""
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._wakeups: SimpleQueue[None] | None = None
        """What wakes the thread of its own, where there is one."""
        self._queue: deque[bytes | Callable[[], object]] = deque()
        self._current = b""
        """Of the item that is being written."""
        # ``+=`` on a plain number is one step under the interpreter's lock, for signal handlers as
        # well as for threads, as no call is in it.
        self._waiting = self._lost = self._reported = 0
        self._writing = _allocate_lock()
        self._torn = self._inside_line = self._is_failing = False
        """A line was given up halfway; the last byte was no line end; the last write failed."""
        self._has_drain_thread = False
        self._notifier: RoomNotifier | None = None
        self._is_watching = False

    def _reset_in_child(self) -> None:
        """Called first by each method that writes: what waits is the parent's to write, and the
        parent's loop shares its epoll with this process."""
        if self._pid != os.getpid():
            self._reset()
            self._may_use_threads = True

    # How it is written on.

    def use_watcher(self, notifier: RoomNotifier) -> None:
        """In the master: its loop writes on."""
        self._notifier = notifier

    def use_thread(self) -> None:
        """From now on all is written by a thread of its own. Raises MachineError.

        Not by threading: gevent, which an app may import, asks whether there are threads.
        """
        self._wakeups = SimpleQueue()
        try:
            _start_thread(self._run_thread, ())
        except RuntimeError as error:
            raise MachineError(f"cannot start the thread that writes lines: {error}") from error

    # For those who write.

    def put(self, data: bytes) -> None:
        """Lines, to be written as soon as there is room; dropped when too many wait already."""
        self._reset_in_child()
        size, lines = len(data), data.count(b"\n")
        if self._waiting + size > self._max_queued:
            self._lost += lines
        else:
            self._waiting += size
            self._queue.append(data)
        self._schedule_write()

    def call_in_order(self, act: Callable[[], object]) -> None:
        """Call it between the lines before and those behind."""
        self._reset_in_child()
        self._queue.append(act)
        self._schedule_write()

    @property
    def has_pending(self) -> bool:
        """Whether something waits for room."""
        return bool(self._queue or self._current)

    def flush(self, timeout: float = FLUSH_TIMEOUT) -> int:
        """Wait until all is written, but not for long; how many lines are not. Safe in a signal
        handler."""
        deadline = monotonic() + timeout
        if self._pid != os.getpid():
            return 0  # nothing was written in this process
        if self._wakeups is not None:
            settled = _allocate_lock()
            settled.acquire()
            self.call_in_order(settled.release)
            settled.acquire(timeout=timeout)
        else:
            self._write_until(deadline)
        items = [self._current, *(item for item in list(self._queue) if isinstance(item, bytes))]
        return sum(item.count(b"\n") for item in items) + self._lost - self._reported

    def _write_until(self, deadline: float) -> None:
        while self.has_pending and (left := deadline - monotonic()) > 0:
            if not self._writing.acquire(timeout=left):
                return  # by the frame that this signal handler interrupted, perhaps
            try:
                has_room = self._write_queue()
            finally:
                self._writing.release()
            if not has_room:
                self._sink.wait_writable(deadline - monotonic())

    # Writing on.

    def _schedule_write(self) -> None:
        if self._wakeups is not None:
            self._wakeups.put(None)
        elif not self._write_available():
            self._wait_for_room()

    def _write_available(self) -> bool:
        """Write, unless a thread does already, or the frame that a signal handler interrupted:
        that one looks again. False: something waits for room."""
        while self.has_pending and self._writing.acquire(blocking=False):
            try:
                has_room = self._write_queue()
            finally:
                self._writing.release()
            if not has_room:
                return False
        return True

    def _wait_for_room(self) -> None:
        if self._notifier is not None:
            if not self._is_watching:
                self._is_watching = True
                self._notifier.add_writer(self._sink.fd, self._on_writable)
        elif self._may_use_threads and not self._has_drain_thread:
            self._has_drain_thread = True
            try:
                _start_thread(self._drain, ())
            except RuntimeError:
                self._has_drain_thread = False  # no more threads: the next line tries again

    def _on_writable(self) -> None:
        if self._write_available():
            self.stop_watching()

    def resume(self) -> None:
        """Another file took the sink's place: what waits goes there."""
        self._reset_in_child()
        self._sink.refresh()
        self._schedule_write()

    def stop_watching(self) -> None:
        """To be called before another file takes the sink's place."""
        self._reset_in_child()
        if self._is_watching and self._notifier is not None:
            self._is_watching = False
            self._notifier.remove(self._sink.fd)

    def _drain(self) -> None:
        """In a thread, until nothing waits. Signals are not its business."""
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        self._write_all()
        self._has_drain_thread = False
        if self.has_pending:
            self._wait_for_room()  # it came between the last look and the line above

    def _run_thread(self) -> None:
        while self._wakeups is not None:
            self._wakeups.get()
            self._write_all()

    def _write_all(self) -> None:
        while not self._write_available():
            self._sink.wait_writable(None)

    # One piece after another; by one thread at a time.

    def _write_queue(self) -> bool:
        """False: there is no room for the rest."""
        while self.has_pending:
            if not self._current:
                item = self._queue.popleft()
                if not isinstance(item, bytes):
                    item()
                    continue
                self._current = item
            if not self._write_piece():
                return False
        if not self._is_failing and (lost := self._lost - self._reported):
            self._reported += lost
            self._on_lost(lost)
        return True

    def _write_piece(self) -> bool:
        piece = self._current[: self._end_of_piece()]
        lead = b"\n" if self._torn else b""
        try:
            taken = self._sink.write(lead + piece)
        except BlockingIOError:
            return False
        except OSError as error:
            self._drop(piece, error)
            return True
        self._torn = self._is_failing = False
        taken -= len(lead)
        if taken > 0:
            self._inside_line = not piece.endswith(b"\n", 0, taken)
        self._advance(max(0, taken))
        return True

    def _drop(self, piece: bytes, error: OSError) -> None:
        first, self._is_failing = not self._is_failing, True
        self._torn, self._inside_line = self._torn or self._inside_line, False
        self._lost += piece.count(b"\n")
        self._advance(len(piece))
        self._on_error(error, piece, first)

    def _advance(self, taken: int) -> None:
        self._current = self._current[taken:]
        self._waiting -= taken

    def _end_of_piece(self) -> int:
        """A piece larger than PIPE_BUF may be mixed with what others write to the same pipe."""
        if not self._sink.is_pipe or len(self._current) <= PIPE_BUF:
            return len(self._current)
        end = self._current.rfind(b"\n", 0, PIPE_BUF) + 1
        return end or self._current.find(b"\n") + 1 or len(self._current)
