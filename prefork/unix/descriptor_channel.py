"""A channel of messages, and of descriptors, between the master and an auxiliary process.

Each message is one packet (SOCK_SEQPACKET), so it arrives whole. The master's end never blocks, and
accepts no descriptor, because the other process may be hostile (unix/descriptor_disposal.py).
"""

import os
import socket
from collections.abc import Iterator

from prefork.errors import MachineError
from prefork.unix.descriptor_disposal import receive_plain, shutdown_and_close
from prefork.unix.poller import Poller

MAX_MESSAGE_SIZE = 4096
"""The size of a message in bytes, at most."""

MAX_MESSAGES = 16
"""Messages that are read at a time, so that a process that never ends sending cannot stop the
reader. The others are still there at the next wait."""


class DescriptorChannel:
    """One end of the channel.

    ``fileno`` is readable when there are messages, or when the other end is closed. ``distrusts``:
    this is the master's end, which accepts no descriptor.
    """

    def __init__(self, end: socket.socket, distrusts: bool = False) -> None:
        self._end = end
        self._distrusts = distrusts
        end.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor, for a poller."""
        return self._end.fileno()

    def send(self, message: bytes, fd: int | None = None) -> bool:
        """Send a message and perhaps a descriptor; return whether the kernel took it.

        False: the other end is dead, or its queue is full.
        """
        try:
            socket.send_fds(self._end, [message], [] if fd is None else [fd])
        except OSError:
            return False  # EAGAIN, EPIPE, ECONNRESET, ETOOMANYREFS: nothing was sent
        return True

    def send_blocking(self, message: bytes) -> None:
        """Send a message, and wait until the other end has room; a dead one is no error."""
        self._end.setblocking(True)
        try:
            self._end.send(message)
        except (BrokenPipeError, ConnectionError):
            pass
        finally:
            self._end.setblocking(False)

    def receive(self) -> Iterator[tuple[bytes, int | None]]:
        """Yield the messages that have arrived, each with its descriptor or None.

        An empty message comes last when the other end is closed. Raises ValueError in the master
        for a message that is too long or brings a descriptor.
        """
        for _ in range(MAX_MESSAGES):
            try:
                message, fds = self._receive_one()
            except BlockingIOError:
                return
            except ConnectionError:
                message, fds = b"", []
            # recv_fds has no MSG_CMSG_CLOEXEC; the processes that use this end execute nothing.
            for fd in fds:
                os.set_inheritable(fd, False)
            yield message, fds[0] if fds else None
            if not message:
                return

    def _receive_one(self) -> tuple[bytes, list[int]]:
        """Receive one message and its descriptors."""
        if self._distrusts:
            return receive_plain(self._end, MAX_MESSAGE_SIZE), []
        message, fds, _flags, _address = socket.recv_fds(self._end, MAX_MESSAGE_SIZE, 1)
        return message, fds

    def close(self) -> None:
        """Close this end; in a child only the child's copy."""
        self._end.close()

    def hang_up(self, poller: Poller) -> None:
        """Close the master's end for good; descriptors that wait in it do not block
        (unix/descriptor_disposal.py)."""
        shutdown_and_close(poller, self._end)


def open_channel_pair() -> tuple[DescriptorChannel, DescriptorChannel]:
    """Return the master's end and the other one. Raises MachineError."""
    try:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError as error:
        raise MachineError(f"cannot open a socket pair: {error.strerror}") from error
    return DescriptorChannel(one, distrusts=True), DescriptorChannel(other)
