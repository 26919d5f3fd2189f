"""A line between master and an auxiliary process: messages, some of which bring a descriptor.

Each message is a packet, so nothing arrives in pieces. The master's end never blocks, and takes no
descriptor: the other process may be hostile (unix/descriptor_disposal.py).
"""

import os
import socket
from collections.abc import Iterator

from prefork.errors import MachineError
from prefork.unix.descriptor_disposal import receive_plain, shutdown_and_close
from prefork.unix.poller import Poller

MAX_MESSAGE_SIZE = 4096

MAX_MESSAGES = 16
"""Read at a time, so that a process that never ends sending holds nothing up; the rest is still
there when the other end is waited for again."""


class DescriptorChannel:
    """One end. ``fileno`` is readable when there are messages, or the other end is closed.
    ``distrusts``: this is the master's end."""

    def __init__(self, end: socket.socket, distrusts: bool = False) -> None:
        self._end = end
        self._distrusts = distrusts
        end.setblocking(False)

    def fileno(self) -> int:
        """For whoever waits."""
        return self._end.fileno()

    def send(self, message: bytes, fd: int | None = None) -> bool:
        """Whether the other end will get it: it may be dead, or take nothing any more."""
        try:
            socket.send_fds(self._end, [message], [] if fd is None else [fd])
        except OSError:
            return False  # EAGAIN, EPIPE, ECONNRESET, ETOOMANYREFS: nothing was sent
        return True

    def send_blocking(self, message: bytes) -> None:
        """Wait until the other end has room; one that is dead needs no message."""
        self._end.setblocking(True)
        try:
            self._end.send(message)
        except (BrokenPipeError, ConnectionError):
            pass
        finally:
            self._end.setblocking(False)

    def receive(self) -> Iterator[tuple[bytes, int | None]]:
        """Messages that came, each with its descriptor; an empty one last: it is closed.

        Raises ValueError in the master for a message that is none of ours.
        """
        for _ in range(MAX_MESSAGES):
            try:
                message, fds = self._receive_one()
            except BlockingIOError:
                return
            except ConnectionError:
                message, fds = b"", []
            for fd in fds:
                os.set_inheritable(fd, False)
            yield message, fds[0] if fds else None
            if not message:
                return

    def _receive_one(self) -> tuple[bytes, list[int]]:
        if self._distrusts:
            return receive_plain(self._end, MAX_MESSAGE_SIZE), []
        message, fds, _flags, _address = socket.recv_fds(self._end, MAX_MESSAGE_SIZE, 1)
        return message, fds

    def close(self) -> None:
        """Also in a child, for its copy."""
        self._end.close()

    def hang_up(self, poller: Poller) -> None:
        """In the master, for good: what is left in it does not block the close."""
        shutdown_and_close(poller, self._end)


def open_channel_pair() -> tuple[DescriptorChannel, DescriptorChannel]:
    """The master's end, and the other one. Raises MachineError."""
    try:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError as error:
        raise MachineError(f"cannot open a socket pair: {error.strerror}") from error
    return DescriptorChannel(one, distrusts=True), DescriptorChannel(other)
