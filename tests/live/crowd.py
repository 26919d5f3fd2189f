"""Thousands of connections to one server, each a bare socket."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.live.harness import PATIENCE, Server
from tests.live.wire import get

AT_ONCE = 500
"""Fewer than wait in a queue of the default length."""

UNFINISHED = b"GET / HTTP/1.1\r\nHost: test\r\nX: "


def require_descriptors(count: int) -> None:
    """Skip the test where a process may not have so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + 200:
        pytest.skip(f"the hard limit of descriptors is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))


@contextmanager
def connect_many(server: Server, size: int, request: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections; each has sent ``request`` and, if it was whole, has got its answer."""
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        while len(sockets) < size:
            some = [_connect(server) for _ in range(min(AT_ONCE, size - len(sockets)))]
            sockets += [stack.enter_context(sock) for sock in some]
            for sock in some:
                sock.sendall(request or UNFINISHED)
            if request:
                for sock in some:
                    assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        yield sockets


def _connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)


def send_one_byte_each(sockets: list[socket.socket]) -> int:
    """One byte more of each unfinished head; how many are still open."""
    for sock in list(sockets):
        try:
            sock.sendall(b"x")
        except OSError:
            sockets.remove(sock)
    return len(sockets)


HELLO = get("/hello")
