"""The pipes between the master and its workers, and non-blocking reads and writes of pipes.

- **Ready pipe:** messages from one worker to the master. Its end of file means that the worker
  closed it or died.
- **Order pipe:** leads to one worker. A byte asks for a report of what the worker is doing, or
  tells it that it leads.
- **Life pipe:** carries nothing. The master has the only write end, all workers have the read end,
  and its end of file means that the master died.
- **Output pipe:** the stdout and stderr of a worker on their way to the log writer. The master
  keeps the read end open as well, and never reads.

Design
------
- **A new log writer inherits the pipes,** because the master keeps the read ends. The master itself
  must not read them: it has no time to wait for a disk.
- **A reader peeks (tee(2)) and consumes later,** so that its death at any moment loses no line
  (``PipePeeker``, ``forward_pipe``).
"""

import ctypes
import errno
import fcntl
import os
import select
from dataclasses import dataclass

from prefork.errors import MachineError


@dataclass(frozen=True, slots=True)
class Pipe:
    """Both ends of a pipe; neither survives an exec."""

    reader: int
    writer: int

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reader)
        self.close_writer()

    def close_writer(self) -> None:
        """Close the write end, in the master when the child has its own."""
        os.close(self.writer)


def open_ready_pipe() -> Pipe:
    """Open a ready pipe: reading never blocks the master, writing may block the worker.

    Raises MachineError.
    """
    return _open_pipe()


def open_order_pipe() -> Pipe:
    """Open a pipe of which neither end blocks. Raises MachineError."""
    pipe = _open_pipe()
    os.set_blocking(pipe.writer, False)
    return pipe


def open_life_pipe() -> Pipe:
    """Open the life pipe, one for all workers of a master. Raises MachineError."""
    return _open_pipe()


OUTPUT_BUFFER = 1024 * 1024
"""Bytes that may wait for the log writer: the limit of Linux for a user without privileges."""


def open_output_pipe() -> Pipe:
    """Open an output pipe with a large buffer, where the kernel grants one. Raises MachineError."""
    pipe = _open_pipe()
    try:
        fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, OUTPUT_BUFFER)
    except OSError:
        pass  # the user's pipes have reached their common limit (pipe-user-pages-soft)
    return pipe


SPLICE_F_NONBLOCK = 2
"""A flag of splice(2) and tee(2); Python has no tee(2)."""


class PipePeeker:
    """Read a pipe without taking anything out of it, by tee(2) into a pipe of its own.

    The data stays in the pipe until it was processed, so the death of the reader loses nothing.
    """

    def __init__(self) -> None:
        self._copy = _open_pipe()

    def peek(self, fd: int) -> bytes | None:
        """Return up to 64 KB of the pipe; None when it is empty, b"" at the end of file."""
        seen = _tee(fd, self._copy.writer)
        return os.read(self._copy.reader, seen) if seen else None if seen is None else b""

    def close(self) -> None:
        """Close the pipe for the copy."""
        self._copy.close()


def forward_pipe(source: int, target: int) -> bytes | None:
    """Move data from one pipe to another and return it.

    None: there is no data or no room. b"": the end of file.

    Only what the target had room for is taken out of the source.
    """
    copied = _tee(source, target)
    return os.read(source, copied) if copied else None if copied is None else b""


def has_data(fd: int) -> bool:
    """Return whether a read would return at once."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))


_libc = ctypes.CDLL(None, use_errno=True)


def _tee(source: int, target: int) -> int | None:
    """Copy from one pipe to another without consuming; return how many bytes, at most 64 KB.

    0 at the end of file; None when there is no data or no room.
    """
    copied: int = _libc.tee(source, target, ctypes.c_size_t(65536), SPLICE_F_NONBLOCK)
    if copied >= 0:
        return copied
    if (why := ctypes.get_errno()) in (errno.EAGAIN, errno.EINTR):
        return None
    raise OSError(why, os.strerror(why))


def _open_pipe() -> Pipe:
    """Open a pipe whose read end does not block. Raises MachineError."""
    try:
        reader, writer = os.pipe2(os.O_CLOEXEC)
    except OSError as error:
        raise MachineError(f"cannot open a pipe: {error.strerror}") from error
    os.set_blocking(reader, False)
    return Pipe(reader, writer)


def read_available(fd: int) -> bytes | None:
    """Read without waiting: None when the pipe is empty, b"" at the end of file."""
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return None


def write_available(fd: int, data: bytes) -> None:
    """Write what the pipe has room for; the rest is dropped, as is all without a reader."""
    try:
        os.write(fd, data)
    except (BlockingIOError, BrokenPipeError):
        pass


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data``, waiting for room; a pipe without a reader is no error."""
    try:
        while data:
            data = data[os.write(fd, data) :]
    except BrokenPipeError:
        pass
