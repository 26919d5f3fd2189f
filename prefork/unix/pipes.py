"""The two pipes between master and worker.

The *ready pipe* carries words from one worker to the master; its end of file means that the
worker closed it or died. The *life pipe* carries nothing: the master holds the only write end, all
workers hold the read end, and its end of file means that the master died.
"""

import os
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


def open_life_pipe() -> Pipe:
    """One for all workers of a master. Raises MachineError."""
    return _open_pipe()


def open_output_pipe() -> Pipe:
    """For what a program writes. Raises MachineError."""
    return _open_pipe()


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


def write_all(fd: int, data: bytes) -> None:
    """Write all of it; a reader that is gone is no error, there is nobody to tell."""
    try:
        while data:
            data = data[os.write(fd, data) :]
    except BrokenPipeError:
        pass
