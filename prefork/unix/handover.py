"""A line between master and log writer: messages, some of which bring a descriptor.

Each message is a packet, so nothing arrives in pieces. The master's end never blocks.
"""

import os
import socket
from collections.abc import Iterator

from prefork.errors import MachineError

LONGEST = 4096


class Line:
    """One end. ``fileno`` is readable when there are messages, or the other end is closed."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        end.setblocking(False)

    def fileno(self) -> int:
        """For whoever waits."""
        return self._end.fileno()

    def send(self, message: bytes, fd: int | None = None) -> bool:
        """Whether the other end will get it: it may be dead, or take nothing any more."""
        try:
            socket.send_fds(self._end, [message], [] if fd is None else [fd])
        except (BlockingIOError, BrokenPipeError, ConnectionError):
            return False
        return True

    def send_surely(self, message: bytes) -> None:
        """Wait until the other end has room; one that is dead needs no message."""
        self._end.setblocking(True)
        try:
            self._end.send(message)
        except (BrokenPipeError, ConnectionError):
            pass
        finally:
            self._end.setblocking(False)

    def receive(self) -> Iterator[tuple[bytes, int | None]]:
        """All messages that came, each with its descriptor; an empty one last: it is closed."""
        while True:
            try:
                message, fds, _flags, _address = socket.recv_fds(self._end, LONGEST, 1)
            except BlockingIOError:
                return
            except ConnectionError:
                message, fds = b"", []
            for fd in fds:
                os.set_inheritable(fd, False)
            yield message, fds[0] if fds else None
            if not message:
                return

    def close(self) -> None:
        """Also in a child, for its copy."""
        self._end.close()


def open_line() -> tuple[Line, Line]:
    """Both ends. Raises MachineError."""
    try:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError as error:
        raise MachineError(f"cannot open a socket pair: {error.strerror}") from error
    return Line(one), Line(other)
