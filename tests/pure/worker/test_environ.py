"""The environ of a request describes this request and its connection, although parts of it were
made for earlier requests.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.http.exchange import Exchange
from prefork.worker.wsgi.environ import EnvironBuilder
from tests.fuzz.memory import Client, MemoryServer, Recorder

GETS = [b"GET /%d HTTP/1.1\r\nHost: a\r\nX-Of: %d\r\n\r\n" % (n, n) for n in range(3)]


class EnvironRecorder(Recorder):
    """Records the environ of each request, then changes the dict as an app may."""

    def __init__(self, server: MemoryServer) -> None:
        super().__init__(False, server.loop)
        self.environ = EnvironBuilder(False, False)
        self.environ.send_early_hints = lambda _connection, _hints: None
        self.environs: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []

    def handle(self, exchange: Exchange) -> None:
        environ = self.environ.build(exchange)
        self.environs.append(dict(environ))
        self.bodies.append(environ["wsgi.input"].read())
        environ["PATH_INFO"] = "spoilt"
        environ["of.the.app"] = True
        super().handle(exchange)


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    with MemoryServer(False) as server:
        yield server


def record_environs(server: MemoryServer) -> EnvironRecorder:
    handler = EnvironRecorder(server)
    server.state.handler = handler
    server.state.handle = handler.handle
    return handler


def from_port(server: MemoryServer, port: int) -> Client:
    client = server.connect()
    client.connection.peer.client = ("192.0.2.1", port)
    return client


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2)), max_size=40))
def test_environ_describes_this_request_and_this_connection(order: list[tuple[int, int]]) -> None:
    with MemoryServer(False) as server:
        environs = record_environs(server).environs
        clients = [from_port(server, port) for port in (1, 2)]
        for which, number in order:
            clients[which].send(GETS[number])
        found = [(e["REMOTE_PORT"], e["PATH_INFO"], e["HTTP_X_OF"]) for e in environs]
        assert found == [(str(which + 1), f"/{n}", str(n)) for which, n in order]
        assert not any("of.the.app" in environ for environ in environs)


def test_each_request_has_its_own_body(server: MemoryServer) -> None:
    app, client = record_environs(server), server.connect()
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 003\r\n\r\n"
    bodies = [b"%03d" % n for n in range(6)]
    for body in bodies:
        client.send(post + body)
    assert client.statuses == [200] * 6
    assert app.bodies == bodies
    assert [environ["CONTENT_LENGTH"] for environ in app.environs] == ["3"] * 6


@pytest.mark.parametrize(
    "target", [b"/a%2Fb?x=%20", b"/%e4", b"http://other/a%2fb", b"/twice?x", b"*"]
)
def test_the_target_is_kept_as_it_was_sent(server: MemoryServer, target: bytes) -> None:
    """PATH_INFO is unquoted, so it cannot tell an escaped slash from one between names."""
    method = b"OPTIONS" if target == b"*" else b"GET"
    handler = record_environs(server)
    client = from_port(server, 1)
    for _ in range(3):
        client.send(b"%b %b HTTP/1.1\r\nHost: a\r\n\r\n" % (method, target))
    targets = [(each["REQUEST_URI"], each["RAW_URI"]) for each in handler.environs]
    assert targets == [(target.decode("latin-1"),) * 2] * 3
