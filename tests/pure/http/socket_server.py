"""HTTP over a pair of unix sockets, for what only a kernel can tell: how much the client has read.

No network is involved, and no time passes: the loop takes turns until something is so.
"""

import fcntl
import socket
import sys
import termios
from collections.abc import Callable

from prefork.http.limits import Limits
from tests.pure.http.asgi_server import App, AsgiServer

MAX_TURNS = 20_000
"""Turns of the loop after which a condition counts as never met. A turn takes microseconds."""

BUFFER_SIZE = 64 * 1024
"""Bytes that wait at least for a client that does not read. The kernel's own counting takes more
for each piece, so the buffer is twice as large (socket(7), SO_SNDBUF)."""


class SocketClient:
    """The client's end of a pair of sockets, whose other end the server has."""

    def __init__(self, server: "SocketServer") -> None:
        self._server = server
        self.socket, other = socket.socketpair()
        self.socket.setblocking(False)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * BUFFER_SIZE)
        self.out = bytearray()
        """All bytes that the client has read."""
        self.has_ended = False
        """The client has read the end of the server's bytes."""
        loop = server.loop
        self.transport, self.connection = loop.run_until_complete(
            loop.connect_accepted_socket(server.protocol.connect, other)
        )
        server.state.load.add_connection()  # as the acceptor does

    def send(self, data: bytes) -> "SocketClient":
        """Put bytes into the kernel's buffer. The server does not see them before its turn."""
        assert self.socket.send(data) == len(data)
        return self

    def has_full_buffer(self) -> bool:
        """Return whether the server has sent as much as fits into the kernel's buffer."""
        waiting = fcntl.ioctl(self.socket.fileno(), termios.FIONREAD, bytes(4))
        return int.from_bytes(waiting, sys.byteorder) > BUFFER_SIZE

    def read(self, size: int = 1 << 20) -> int:
        """Read what has arrived, and return how much it was."""
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            return 0
        self.has_ended = not data
        self.out += data
        return len(data)

    def run_until(self, is_so: Callable[[], bool], reads: bool = False) -> None:
        """Let the server's loop take turns until ``is_so``; ``reads``: the client reads between
        them."""
        for _ in range(MAX_TURNS):
            if is_so():
                return
            self._server.run_turn()
            if reads and not self.has_ended:
                self.read()
        raise AssertionError("it never came so")

    def read_until_ended(self) -> bytes:
        """Read all that the server sends, and return the bytes behind the head."""
        self.run_until(lambda: self.has_ended, reads=True)
        return bytes(self.out).partition(b"\r\n\r\n")[2]

    def close(self) -> None:
        self.socket.close()


class SocketServer(AsgiServer):
    """The HTTP part of a worker that listens on unix sockets. Its clients are closed with it."""

    def __init__(self, app: App, limits: Limits | None = None) -> None:
        super().__init__(app, limits)
        self._clients: list[SocketClient] = []

    def connect_socket(self) -> SocketClient:
        client = SocketClient(self)
        self._clients.append(client)
        return client

    def run_turn(self) -> None:
        """Let the loop take one turn, in which it also looks at the sockets."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        if self.loop.errors:
            raise self.loop.errors.pop()

    def __exit__(self, *exc_info: object) -> None:
        super().__exit__(*exc_info)
        for client in self._clients:
            client.close()
