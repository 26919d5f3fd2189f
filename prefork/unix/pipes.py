"""The pipes between master and worker.

The *ready pipe* carries words from one worker to the master; its end of file means that the
worker closed it or died. The *ask pipe* leads to one worker: a byte asks what it is at. The *life
pipe* carries nothing: the master holds the only write end, all workers hold the read end, and its
end of file means that the master died. *Output pipes* carry what a worker prints to the log
writer; the master holds the read ends, too, and never reads.
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
    """Both ends; neither survives an exec."""

    reader: int
    writer: int

    def close(self) -> None:
        """Both ends."""
        os.close(self.reader)
        self.close_writer()

    def close_writer(self) -> None:
        """In the master, when the child has its own."""
        os.close(self.writer)


def open_ready_pipe() -> Pipe:
    """Reading never blocks the master; writing may block the worker, which has nothing better.

    Raises MachineError.
    """
    return _open_pipe()


def open_stack_request_pipe() -> Pipe:
    """Neither end ever blocks. Raises MachineError."""
    pipe = _open_pipe()
    os.set_blocking(pipe.writer, False)
    return pipe


def open_life_pipe() -> Pipe:
    """One for all workers of a master. Raises MachineError."""
    return _open_pipe()


OUTPUT_BUFFER = 1024 * 1024
"""Bytes that may wait for the log writer; as much as Linux lets everybody have."""


def open_output_pipe() -> Pipe:
    """With room for a burst, where the kernel grants it. Raises MachineError."""
    pipe = _open_pipe()
    try:
        fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, OUTPUT_BUFFER)
    except OSError:
        pass  # this user's pipes have all the room that they may have together
    return pipe


SPLICE_F_NONBLOCK = 2


class PipePeeker:
    """Looks into a pipe without taking anything out of it (tee(2)).

    What was seen is still in the pipe, so whoever looks may die before it did its work.
    """

    def __init__(self) -> None:
        self._copy = _open_pipe()

    def peek(self, fd: int) -> bytes | None:
        """What is in the pipe, at most 64 KB of it; None when nothing, empty at the end of file."""
        seen = _tee(fd, self._copy.writer)
        return os.read(self._copy.reader, seen) if seen else None if seen is None else b""

    def close(self) -> None:
        """Let go of the copy."""
        self._copy.close()


def forward_pipe(source: int, target: int) -> bytes | None:
    """From pipe to pipe, and tell what it was; None when there is nothing or no room, empty at the
    end of file. Nothing is taken that the sink did not get."""
    copied = _tee(source, target)
    return os.read(source, copied) if copied else None if copied is None else b""


def has_data(fd: int) -> bool:
    """Whether it could be read now."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))


_libc = ctypes.CDLL(None, use_errno=True)


def _tee(source: int, target: int) -> int | None:
    """Copy what is in one pipe to another: how many bytes, at most 64 KB; 0 at the end of file,
    None when there is nothing or no room."""
    copied: int = _libc.tee(source, target, ctypes.c_size_t(65536), SPLICE_F_NONBLOCK)
    if copied >= 0:
        return copied
    if (why := ctypes.get_errno()) in (errno.EAGAIN, errno.EINTR):
        return None
    raise OSError(why, os.strerror(why))


def _open_pipe() -> Pipe:
    try:
        reader, writer = os.pipe2(os.O_CLOEXEC)
    except OSError as error:
        raise MachineError(f"cannot open a pipe: {error.strerror}") from error
    os.set_blocking(reader, False)
    return Pipe(reader, writer)


def read_available(fd: int) -> bytes | None:
    """What there is, without waiting: None when nothing, empty at the end of file."""
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return None


def write_available(fd: int, data: bytes) -> None:
    """What the pipe has room for. A pipe that is full or has no reader gets nothing."""
    try:
        os.write(fd, data)
    except (BlockingIOError, BrokenPipeError):
        pass


def write_all(fd: int, data: bytes) -> None:
    """Write all of it; a reader that is gone is no error, there is nobody to tell."""
    try:
        while data:
            data = data[os.write(fd, data) :]
    except BrokenPipeError:
        pass
