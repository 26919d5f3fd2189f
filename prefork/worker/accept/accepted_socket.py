"""A socket-like object for a descriptor that accept(2) returned, for immediate use by the event
loop.

``socket.accept`` makes a whole socket object of the descriptor, asks the kernel for a name that is
known already, and costs 3 µs more. The loop needs only the methods of this class, and closes the
descriptor itself.
"""

import socket


class AcceptedSocket:
    """The part of a socket that ``loop.connect_accepted_socket`` uses."""

    __slots__ = ("_fd", "family")

    type = socket.SOCK_STREAM

    def __init__(self, fd: int, family: int) -> None:
        self._fd = fd
        self.family = family

    def fileno(self) -> int:
        """Return the descriptor, which the loop's transport owns."""
        return self._fd

    def close(self) -> None:
        """Do nothing: the transport has closed its descriptor by itself."""
