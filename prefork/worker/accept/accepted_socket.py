"""A minimal socket for a descriptor from accept(2), which the event loop takes over at once.

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
