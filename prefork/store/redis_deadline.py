"""A limit for the whole answer of a server, which ``socket_timeout`` does not set: that one begins
again with each part that arrives.

A server that sends a byte a second would hold a call, and the request that makes it, without end.

Design
------
- **A large value may take longer than a small one.** A server has the timeout, and the time that
  its answer takes at ``MIN_RATE``; nginx's ``send_timeout`` and Apache's ``MinRate`` are the two
  halves of that.
- **The socket is wrapped, not the call watched.** A thread that watches each call would cost more
  than the call. The client reads its answers from the socket that ``_connect`` returns; this method
  is no documented one. A client without it has answers without a limit.
"""

import socket
from time import monotonic
from typing import Any

MIN_RATE = 64 * 1024
"""Bytes a second that a server sends at least, after the timeout."""


class LimitedSocket:
    """A socket whose answers have a limit. ``timeout``: seconds, beside those for its bytes."""

    def __init__(self, wrapped: socket.socket, timeout: float) -> None:
        self._wrapped = wrapped
        self._timeout = timeout
        self._deadline = monotonic() + timeout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def sendall(self, data: Any) -> None:
        """Send a command; the time for its answer begins."""
        self._wrapped.sendall(data)
        self._deadline = monotonic() + self._timeout

    def recv(self, size: int) -> bytes:
        """Receive a part of an answer. Raises TimeoutError."""
        data = self._wrapped.recv(size)
        self._require_time(len(data))
        return data

    def recv_into(self, buffer: Any, *arguments: int) -> int:
        """Receive a part of an answer into a buffer. Raises TimeoutError."""
        count = self._wrapped.recv_into(buffer, *arguments)
        self._require_time(count)
        return count

    def _require_time(self, count: int) -> None:
        """Raise TimeoutError if the answer takes too long. ``count``: bytes that have arrived; 0:
        the connection was closed, which is another error."""
        self._deadline += count / MIN_RATE
        if count and monotonic() > self._deadline:
            raise TimeoutError("the answer takes too long")


def limit_answers(pool: Any) -> None:
    """Let the connections that a pool of the client makes have answers with a limit."""
    kind = pool.connection_class

    class LimitedConnection(kind):  # type: ignore[misc, valid-type]
        """A connection whose answers have a limit."""

        def _connect(self) -> Any:
            made = super()._connect()
            return LimitedSocket(made, self.socket_timeout) if self.socket_timeout else made

    pool.connection_class = LimitedConnection
