"""Write lines to a file, a pipe, a terminal or a socket without blocking the calling process.

Lines that the sink does not take at once wait in a bounded buffer. Lines that do not fit into the
buffer are dropped and counted, and the count is reported when the reader reads again. Regular
files are written directly, except by a LineWriter with a thread of its own, because a disk may
stall: the access log has one.

Only whole lines are written, each piece by one write(2), so that processes that have the same file
open with O_APPEND, or the same pipe, do not tear each other's lines.

Design
------
- **No process of prefork waits for the reader of a log.** The log, the access log and the output
  that passes through the master are all written by this one class.
- **The master writes waiting lines from its loop, other processes from a thread** that exits when
  all is written, because a process that forks must have no threads. A child begins with an empty
  buffer, because the waiting lines are its parent's to write.
- **The newest lines are dropped, not the oldest,** because the first lines tell the cause.
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
from prefork.unix.journal import JournalSocket
from prefork.unix.nonblocking_writer import NonblockingWriter

# Bound before an app is imported, because gevent replaces these functions in their module.
_start_thread = _thread.start_new_thread
_allocate_lock = _thread.allocate_lock

FLUSH_TIMEOUT = 1.0
"""Seconds that ``flush`` waits."""


class RoomNotifier(Protocol):
    """The event loop of a process without threads, which reports when a descriptor is writable."""

    def add_writer(self, fd: int, react: Callable[[], object]) -> None:
        """Call ``react()`` whenever ``fd`` is writable."""

    def remove(self, fd: int) -> None:
        """Stop watching ``fd``."""


class LineWriter:
    """The buffer in front of one sink. It may be used in threads, in signal handlers and after a
    fork.

    ``max_queued`` is the maximum number of bytes in the buffer. ``on_lost(count)`` is called with
    the number of dropped lines when the buffer has been written. ``on_error(error, piece, first)``
    is called for a piece that cannot be written; ``first`` says that the write before succeeded.
    ``count`` returns the number of lines in a piece; an entry of the journal counts as one.
    """

    def __init__(
        self,
        sink: NonblockingWriter | JournalSocket,
        max_queued: int,
        on_lost: Callable[[int], None],
        on_error: Callable[[OSError, bytes, bool], None],
        count: Callable[[bytes], int] = lambda data: data.count(b"\n"),
    ) -> None:
        self._sink = sink
        self._count = count
        self._max_queued = max_queued
        self._on_lost = on_lost
        self._on_error = on_error
        self._may_use_threads = False
        """True if this process may have threads: it is a child of the process that created this."""
        self._reset()

    def _reset(self) -> None:
        """Set the state of a buffer without lines, for this process."""
        self._pid = os.getpid()
        self._wakeups: SimpleQueue[None] | None = None
        """Wakes the permanent thread; None: there is no such thread."""
        self._queue: deque[bytes | Callable[[], object]] = deque()
        self._current = b""
        """The part of the current item that is not yet written."""
        # ``+=`` on these numbers is atomic under the interpreter's lock, also with respect to
        # signal handlers, because there is no call in it.
        self._waiting = self._lost = self._reported = 0
        self._writing = _allocate_lock()
        self._torn = self._inside_line = self._is_failing = False
        """A line was abandoned halfway; the last byte written was no line end; the last write
        failed."""
        self._has_drain_thread = False
        self._notifier: RoomNotifier | None = None
        self._is_watching = False

    def _reset_in_child(self) -> None:
        """Start with an empty buffer in a child process. Each method that writes calls this first.

        The waiting lines are the parent's to write. The notifier is dropped as well, because the
        parent's loop shares its epoll with this process.
        """
        if self._pid != os.getpid():
            self._reset()
            self._may_use_threads = True

    # Choice of loop or thread.

    def use_watcher(self, notifier: RoomNotifier) -> None:
        """Write waiting lines from the loop of this process; for the master."""
        self._notifier = notifier

    def use_thread(self) -> None:
        """Write all lines in a permanent thread from now on. Raises MachineError.

        The thread is not started by ``threading``: gevent, which an app may import, behaves
        differently when that module knows of other threads.
        """
        self._wakeups = SimpleQueue()
        try:
            _start_thread(self._run_thread, ())
        except RuntimeError as error:
            raise MachineError(f"cannot start the thread that writes lines: {error}") from error

    # For callers.

    def put(self, data: bytes) -> None:
        """Write lines as soon as the sink takes them, or drop them if the buffer is full."""
        self._reset_in_child()
        size, lines = len(data), self._count(data)
        if self._waiting + size > self._max_queued:
            self._lost += lines
        else:
            self._waiting += size
            self._queue.append(data)
        self._schedule_write()

    def call_in_order(self, act: Callable[[], object]) -> None:
        """Call ``act`` after the lines that were put before, and before those that come later."""
        self._reset_in_child()
        self._queue.append(act)
        self._schedule_write()

    @property
    def has_pending(self) -> bool:
        """Return whether something waits to be written."""
        return bool(self._queue or self._current)

    def flush(self, timeout: float = FLUSH_TIMEOUT) -> int:
        """Wait until all lines are written, for ``timeout`` seconds at most.

        Returns the number of lines that are not written. It may be called in a signal handler.
        """
        deadline = monotonic() + timeout
        if self._pid != os.getpid():
            return 0  # This process has put no lines.
        if self._wakeups is not None:
            written = _allocate_lock()
            written.acquire()
            self.call_in_order(written.release)
            written.acquire(timeout=timeout)
        else:
            self._write_until(deadline)
        items = [self._current, *(item for item in list(self._queue) if isinstance(item, bytes))]
        return sum(self._count(item) for item in items if item) + self._lost - self._reported

    def _write_until(self, deadline: float) -> None:
        while self.has_pending and (left := deadline - monotonic()) > 0:
            if not self._writing.acquire(timeout=left):
                return  # The frame that this signal handler interrupted may hold the lock.
            try:
                has_room = self._write_queue()
            finally:
                self._writing.release()
            if not has_room:
                self._sink.wait_writable(deadline - monotonic())

    # Writing waiting lines.

    def _schedule_write(self) -> None:
        if self._wakeups is not None:
            self._wakeups.put(None)
        elif not self._write_available():
            self._wait_for_room()

    def _write_available(self) -> bool:
        """Write the buffer; False if the sink did not take all of it.

        If another thread, or the frame that a signal handler interrupted, is writing already, this
        returns True, because the other one checks the buffer again.
        """
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
                # There can be no more threads now. The next line tries again.
                self._has_drain_thread = False

    def _on_writable(self) -> None:
        if self._write_available():
            self.stop_watching()

    def resume(self) -> None:
        """Write the waiting lines to the file that has replaced the sink's."""
        self._reset_in_child()
        self._sink.refresh()
        self._schedule_write()

    def stop_watching(self) -> None:
        """Stop watching the sink; to be called before another file replaces its file."""
        self._reset_in_child()
        if self._is_watching and self._notifier is not None:
            self._is_watching = False
            self._notifier.remove(self._sink.fd)

    def _drain(self) -> None:
        """Write in a thread until the buffer is empty. The thread blocks all signals."""
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        self._write_all()
        self._has_drain_thread = False
        if self.has_pending:
            self._wait_for_room()  # A line was put after the last check and before the line above.

    def _run_thread(self) -> None:
        while self._wakeups is not None:
            self._wakeups.get()
            self._write_all()

    def _write_all(self) -> None:
        while not self._write_available():
            self._sink.wait_writable(None)

    # Writing pieces. Only the holder of ``_writing`` calls these.

    def _write_queue(self) -> bool:
        """Write the buffer; False if the sink does not take the rest now."""
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
        """Write the next piece, or a part of it; False if the sink takes nothing now."""
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
        """Drop a piece that cannot be written, and report the error."""
        first, self._is_failing = not self._is_failing, True
        self._torn, self._inside_line = self._torn or self._inside_line, False
        self._lost += self._count(piece)
        self._advance(len(piece))
        self._on_error(error, piece, first)

    def _advance(self, taken: int) -> None:
        self._current = self._current[taken:]
        self._waiting -= taken

    def _end_of_piece(self) -> int:
        """Return the length of the next piece: whole lines of up to PIPE_BUF bytes for a pipe.

        A larger write may be interleaved with those of other processes (pipe(7)). A single longer
        line is one piece.
        """
        if not self._sink.is_pipe or len(self._current) <= PIPE_BUF:
            return len(self._current)
        end = self._current.rfind(b"\n", 0, PIPE_BUF) + 1
        return end or self._current.find(b"\n") + 1 or len(self._current)
