"""The facts that the kernel tells about a client: what it has taken, what it has sent, whether it
is gone.
"""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from prefork.http.limits import Limits
from prefork.http.tick import TICK_PERIOD
from prefork.http.transport import (
    delivery_progress,
    has_unread_data,
    is_all_delivered,
    set_receive_low_water,
)
from tests.pure.http.asgi_server import Event, Receive, Send, body, request, sending, start
from tests.pure.http.socket_server import SocketServer

HELLO = sending(start(), body(b"hello"))
KEEPALIVE = 10
MUCH = b"x" * 4_000_000


@pytest.fixture
def server() -> Iterator[SocketServer]:
    with SocketServer(HELLO, Limits(keepalive=KEEPALIVE, send_timeout=8)) as server:
        yield server


def test_a_unix_client_has_no_address() -> None:
    scopes: list[Event] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await HELLO(scope, receive, send)

    with SocketServer(app) as server:
        client = server.connect_socket().send(request())
        client.run_until(lambda: client.out.endswith(b"hello"), reads=True)
        assert scopes[0]["client"] is None
        assert client.connection.peer.host is None


def test_progress_grows_as_the_client_reads(server: SocketServer) -> None:
    client = server.connect_socket()
    assert is_all_delivered(client.transport)
    client.transport.write(MUCH)
    assert not is_all_delivered(client.transport)
    before = delivery_progress(client.transport)
    client.read(100_000)
    assert delivery_progress(client.transport) > before
    client.run_until(lambda: len(client.out) == len(MUCH), reads=True)
    assert is_all_delivered(client.transport)


def test_bytes_that_wait_in_the_kernel_are_seen(server: SocketServer) -> None:
    client = server.connect_socket()
    assert not has_unread_data(client.transport)
    client.send(request())
    assert has_unread_data(client.transport)


def test_a_closed_socket_has_nothing_to_tell(server: SocketServer) -> None:
    client = server.connect_socket()
    client.transport.abort()
    client.run_until(lambda: not server.state.connections)
    assert delivery_progress(client.transport) == 0
    assert is_all_delivered(client.transport)
    assert not has_unread_data(client.transport)


def test_a_closed_tcp_socket_has_nothing_to_tell() -> None:
    with socket.socket(socket.AF_INET) as sock:
        pass
    assert delivery_progress(asyncio.Transport({"socket": sock})) == 0


def test_a_transport_without_a_socket_has_nothing_to_tell() -> None:
    transport = asyncio.Transport()
    assert delivery_progress(transport) == 0
    assert not has_unread_data(transport)
    set_receive_low_water(transport, 1000)


def test_an_idle_client_that_has_just_sent_a_request_is_not_closed(server: SocketServer) -> None:
    """A call of the app may have kept the worker from reading it."""
    client, silent = (
        server.connect_socket().send(request()),
        server.connect_socket().send(request()),
    )
    for each in (client, silent):
        each.run_until(lambda each=each: each.out.endswith(b"hello"), reads=True)
    client.send(request())
    server.loop.ahead += KEEPALIVE + 5
    server.state.tick()
    silent.run_until(lambda: silent.has_ended, reads=True)
    client.run_until(lambda: client.out.count(b"hello") == 2, reads=True)
    assert not client.has_ended


def test_a_connection_that_closes_waits_until_the_client_has_read() -> None:
    app = sending(start(200, (b"connection", b"close")), body(MUCH))
    with SocketServer(app, Limits(send_timeout=8)) as server:
        client = server.connect_socket().send(request())
        client.run_until(client.transport.is_closing)
        for _ in range(20):
            server.loop.ahead += 4
            server.run(server.state.tick)
            client.read(100_000)
        assert server.state.connections
        assert client.read_until_ended() == MUCH


def test_a_connection_that_closes_is_cut_off_when_the_client_stops_reading() -> None:
    app = sending(start(200, (b"connection", b"close")), body(MUCH))
    with SocketServer(app, Limits(send_timeout=8)) as server:
        client = server.connect_socket().send(request())
        client.run_until(client.transport.is_closing)
        server.pass_time(8 + 2 * TICK_PERIOD)
        assert not server.state.connections
        assert len(client.read_until_ended()) < len(MUCH)
