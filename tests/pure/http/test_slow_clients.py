"""Clients that read slowly or not at all: an app waits for them, and a deadline ends them."""

import pytest

from prefork.http.limits import Limits
from prefork.http.tick import TICK_PERIOD
from tests.fuzz.memory import Client, MemoryServer
from tests.pure.http.asgi_server import (
    AsgiServer,
    Event,
    Receive,
    Send,
    anonymous_tls,
    body,
    read_response,
    request,
    start,
)

PIECE = b"x" * 1000
LIMITS = Limits(send_timeout=8)


class Flood:
    """An app that sends pieces without an end, or so many; ``sent`` counts them."""

    def __init__(self, pieces: int = 1_000_000) -> None:
        self._pieces = pieces
        self.sent = 0
        self.error: Exception | None = None

    async def __call__(self, _scope: Event, _receive: Receive, send: Send) -> None:
        try:
            await send(start())
            while self.sent < self._pieces:
                await send(body(PIECE, more=True))
                self.sent += 1
            await send(body())
        except OSError as error:
            self.error = error


def test_an_app_waits_for_a_client_that_does_not_read() -> None:
    flood = Flood(pieces=10)
    with AsgiServer(flood) as server:
        client = server.connect(swallows=3000).send(request())
        assert flood.sent < 4
        server.pass_time(1)
        assert flood.sent < 4
        client.catch_up()
        assert flood.sent == 10
        assert read_response(client).body == PIECE * 10
        assert not client.closed


def test_a_client_that_takes_nothing_is_reset() -> None:
    flood = Flood()
    with AsgiServer(flood, LIMITS) as server:
        client = server.connect(swallows=3000).send(request())
        server.pass_time(7)
        assert not client.closed
        server.pass_time(2)
        assert client.was_reset
        assert flood.error is not None
        assert not server.state.connections


def test_a_client_that_takes_little_is_not_reset() -> None:
    with AsgiServer(Flood(), LIMITS) as server:
        client = server.connect(swallows=3000).send(request())
        for _ in range(10):
            client.take(1)
            server.pass_time(5)
        assert not client.closed
        server.pass_time(10)
        assert client.was_reset


def test_no_response_is_begun_before_the_client_has_read_the_one_before() -> None:
    with MemoryServer(False) as server:
        client = server.connect(swallows=100).send(request(), request() + request())
        assert client.statuses == [200, 200]
        assert len(server.take_seen()) == 2
        client.catch_up()
        assert client.statuses == [200] * 3


def test_a_request_that_was_refused_is_answered_when_the_client_has_read() -> None:
    with MemoryServer(False) as server:
        client = server.connect(swallows=10).send(request() + b"GET / HTTP/1.1\r\n\r\n")
        assert client.statuses == [200]
        client.catch_up()
        assert client.statuses == [200, 400]


@pytest.mark.parametrize("streams", [False, True])
def test_a_body_may_arrive_before_the_client_has_read_the_response_before(streams: bool) -> None:
    head = request(b"/", b"Content-Length: 5", method=b"POST")
    with MemoryServer(streams) as server:
        client = server.connect(swallows=10).send(request(), head, b"he", b"llo")
        assert client.statuses == [200]
        client.catch_up()
        assert client.statuses == [200, 200]
        assert server.take_seen()[-1].body == b"hello"


def closing(server: MemoryServer) -> Client:
    """Return a client that has not read the response with which the server closes."""
    client = server.connect(swallows=10).send(request(b"/", b"Connection: close"))
    assert client.closed
    return client


def test_a_connection_that_closes_waits_until_the_client_has_read() -> None:
    with MemoryServer(False, LIMITS) as server:
        client = closing(server)
        for _ in range(10):
            server.pass_time(5)
            client.take(1)
            assert len(server.state.connections) == 1
        client.catch_up()
        assert not server.state.connections
        assert not client.was_reset


def test_a_connection_that_closes_is_cut_off_when_the_client_stops_reading() -> None:
    with MemoryServer(False, LIMITS) as server:
        closing(server)
        server.pass_time(7)
        assert len(server.state.connections) == 1
        server.pass_time(2)
        assert not server.state.connections


def test_tls_is_not_waited_for_once_everything_is_delivered() -> None:
    """Few clients answer a close_notify."""
    with MemoryServer(False) as server:
        client = server.connect(swallows=10, tls=anonymous_tls())
        client.send(request(b"/", b"Connection: close"))
        server.pass_time(TICK_PERIOD)
        assert len(server.state.connections) == 1
        client.catch_up()
        server.pass_time(TICK_PERIOD)
        assert not server.state.connections


def test_an_app_that_is_cancelled_while_it_waits_for_a_client_is_not_woken() -> None:
    with AsgiServer(Flood()) as server:
        client = server.connect(swallows=3000).send(request())
        for call in list(server.handler.running):
            call.cancel_for_drain()
        server.settle()
        assert client.was_reset
        client.catch_up()
        assert not server.handler.running


@pytest.mark.parametrize("events", [1, 2])
def test_a_client_that_leaves_ends_the_wait_of_its_app(events: int) -> None:
    flood = Flood()
    with AsgiServer(flood) as server:
        clients = [server.connect(swallows=3000).send(request()) for _ in range(events)]
        for client in clients:
            client.leave()
        assert flood.error is not None
