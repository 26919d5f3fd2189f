"""Thousands of connections to one server, each a plain socket."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.live.harness import PATIENCE, Server
from tests.live.raw_client import get

AT_ONCE = 500
"""Connections that are opened at once: fewer than the default backlog."""

UNFINISHED = b"GET / HTTP/1.1\r\nHost: test\r\nX: "


def require_descriptors(count: int) -> None:
    """Raise the limit of descriptors to ``count``, or skip the test where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + 200:
        pytest.skip(f"the hard limit of descriptors is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))


@contextmanager
def connect_many(server: Server, size: int, request: bytes = b"") -> Iterator[list[socket.socket]]:
    """Open ``size`` connections. Each has sent ``request`` and has its response, or has sent an
    unfinished head if ``request`` is empty."""
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
    """Send one more byte of each unfinished head, and return how many connections are still
    open."""
    for sock in list(sockets):
        try:
            sock.sendall(b"x")
        except OSError:
            sockets.remove(sock)
    return len(sockets)


HELLO = get("/hello")
