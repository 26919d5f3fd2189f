"""How long a connection lives: keep-alive, half-close, lingering, drain (RFC 9112 section 9)."""

import asyncio
from collections.abc import Iterator

import pytest

from prefork.http.http1.base_connection import LINGERING_TIME
from prefork.http.limits import Limits
from prefork.http.response_head import STATUS_LINES
from prefork.http.server_state import DRAIN_TICK_PERIOD
from prefork.http.tick import TICK_PERIOD
from tests.fuzz.memory import Client, MemoryServer
from tests.pure.http.asgi_server import (
    AsgiServer,
    Event,
    Gate,
    Receive,
    Send,
    anonymous_tls,
    body,
    read_responses,
    request,
    sending,
    serving,
    start,
)

HELLO = sending(start(), body(b"hello"))
POST = request(b"/", b"Content-Length: 5", method=b"POST")


@pytest.fixture(params=[False, True], ids=["spooled", "streamed"])
def server(request: pytest.FixtureRequest) -> Iterator[MemoryServer]:
    with MemoryServer(request.param, Limits(keepalive=60, linger=1)) as server:
        yield server


# Keep-alive.


def test_a_connection_serves_one_request_after_another(server: MemoryServer) -> None:
    client = server.connect().send(*[request()] * 20)
    assert client.statuses == [200] * 20
    assert not any(response.closes for response in read_responses(client, *[b"GET"] * 20))


def test_a_connection_ends_when_the_client_asks(server: MemoryServer) -> None:
    client = server.connect().send(request(b"/", b"Connection: close") + request())
    (response,) = read_responses(client)
    assert response.closes
    assert client.closed
    assert len(server.take_seen()) == 1


def test_without_keep_alive_each_connection_has_one_request() -> None:
    with serving(HELLO, request(), limits=Limits(keepalive=0)) as client:
        assert read_responses(client)[0].closes
        assert client.closed


def test_a_pipeline_is_answered_in_order() -> None:
    async def app(scope: Event, _receive: Receive, send: Send) -> None:
        await asyncio.sleep(0)
        await send(start())
        await send(body(scope["raw_path"]))

    pipeline = b"".join(request(b"/%d" % number) for number in range(50))
    with serving(app, pipeline) as client:
        bodies = [response.body for response in read_responses(client, *[b"GET"] * 50)]
        assert bodies == [b"/%d" % number for number in range(50)]


# The client may still be sending: what was written must reach it before the connection ends.


def refused(server: MemoryServer) -> Client:
    return server.connect().send(b"GET / HTTP/1.1\r\n\r\n" + request())


def test_after_a_refusal_what_the_client_still_sends_is_discarded(server: MemoryServer) -> None:
    client = refused(server)
    assert client.transport.half_closed
    assert not client.transport.closing
    client.send(request(), b"more")
    assert client.statuses == [400]
    assert server.take_seen() == []
    client.finish()
    assert client.transport.closing


def test_the_server_does_not_wait_for_ever_for_a_refused_client(server: MemoryServer) -> None:
    client = refused(server)
    server.pass_time(LINGERING_TIME - TICK_PERIOD)
    assert not client.transport.closing
    server.pass_time(2 * TICK_PERIOD)
    assert client.transport.closing


def test_a_refused_client_of_a_paused_connection_is_read_again() -> None:
    """Otherwise the transport would never report that the client has ended, too."""
    gate = Gate()

    async def app(_scope: Event, _receive: Receive, send: Send) -> None:
        await gate.wait()
        await send(start(200, (b"connection", b"close")))
        await send(body())

    with AsgiServer(app) as server:
        client = server.connect().send(request() * 3)
        assert client.transport.is_paused
        gate.open(server)
        assert client.statuses == [200]
        assert client.transport.half_closed
        assert not client.transport.is_paused
        assert client.finish().transport.closing


def test_a_refused_tls_client_is_closed_at_once(server: MemoryServer) -> None:
    client = server.connect(tls=anonymous_tls()).send(b"GET / HTTP/1.1\r\n\r\n")
    assert client.statuses == [400]
    assert client.transport.closing


# Half-closed clients.


def test_a_client_that_ends_its_side_still_gets_its_response_from_a_spooled_app() -> None:
    with MemoryServer(False) as server:
        server.recorder.later = []
        client = server.connect().send(request()).finish()
        assert not client.closed
        server.recorder.answer(server.recorder.later.pop())
        server.settle()
        assert client.statuses == [200]
        assert client.closed


def test_a_response_that_began_before_the_client_ended_its_side_is_finished() -> None:
    with MemoryServer(False) as server:
        server.recorder.later = []
        client = server.connect().send(request())
        (exchange,) = server.recorder.later
        exchange.start_response(200, STATUS_LINES[200], (), None)
        exchange.send(b"hel")
        client.finish()
        assert not client.closed
        server.run(exchange.finish, b"lo")
        assert read_responses(client)[0].body == b"hello"
        assert client.closed


def test_to_a_streaming_app_the_end_of_the_clients_bytes_is_a_disconnect() -> None:
    heard: list[str] = []

    async def app(_scope: Event, receive: Receive, _send: Send) -> None:
        heard.extend([(await receive())["type"], (await receive())["type"]])

    with serving(app) as client:
        assert client.finish().transport.closing
        assert heard == ["http.request", "http.disconnect"]


@pytest.mark.parametrize("part", [b"", request(), POST, POST[:10]])
def test_the_end_of_an_idle_clients_bytes_ends_the_connection(
    server: MemoryServer, part: bytes
) -> None:
    client = server.connect().send(part)
    answered = list(client.statuses)
    assert client.finish().transport.closing
    assert client.statuses == answered
    assert not server.state.connections


def test_a_half_closed_tls_client_is_gone() -> None:
    with MemoryServer(False) as server:
        server.recorder.later = []
        client = server.connect(tls=anonymous_tls()).send(request()).finish()
        assert client.transport.closing


def test_requests_that_wait_when_their_client_leaves_do_not_reach_the_app() -> None:
    gate, calls = Gate(), []

    async def app(scope: Event, _receive: Receive, _send: Send) -> None:
        calls.append(scope["raw_path"])
        await gate.wait()

    with AsgiServer(app) as server:
        client = server.connect().send(request(b"/1") + request(b"/2") + POST)
        client.leave()
        gate.open(server)
        assert calls == [b"/1"]
        assert server.state.load.word == 0


# A worker that drains.


def drain(server: MemoryServer, has_no_successor: bool = False) -> None:
    server.run(server.state.drain, has_no_successor)


def pass_drain_ticks(server: MemoryServer, seconds: float) -> None:
    for _ in range(round(seconds / DRAIN_TICK_PERIOD)):
        server.loop.ahead += DRAIN_TICK_PERIOD
        server.run(server.state.tick)


def test_a_request_that_arrives_just_when_the_worker_drains_is_the_last(
    server: MemoryServer,
) -> None:
    client = server.connect().send(request())
    drain(server)
    assert not client.closed
    client.send(request())
    first, second = read_responses(client, b"GET", b"GET")
    assert not first.closes
    assert second.closes
    assert client.closed


def test_after_the_end_was_announced_each_response_is_the_last_of_its_connection(
    server: MemoryServer,
) -> None:
    new, idle = server.connect(), server.connect().send(request())
    server.run(server.state.close_after_responses)
    server.run(lambda: None)
    later = server.connect()
    server.pass_time(1.0)
    assert not idle.closed
    for client in (new, idle, later):
        client.send(request())
        assert read_responses(client, *[b"GET"] * len(client.statuses))[-1].closes
        assert client.closed


def test_a_response_that_is_made_when_the_end_is_announced_keeps_its_promise(
    server: MemoryServer,
) -> None:
    """A signal handler announces it, perhaps between the head of a response and its end."""
    client = server.connect()

    def announce_and_answer() -> None:
        server.state.close_after_responses()
        assert [each.close_requested for each in server.state.connections] == [False]  # type: ignore[attr-defined]

    server.run(announce_and_answer)
    server.run(lambda: None)
    assert not client.closed
    assert [each.close_requested for each in server.state.connections] == [True]  # type: ignore[attr-defined]


@pytest.mark.parametrize("part", [b"", request()], ids=["new", "idle"])
def test_a_connection_closes_once_it_was_quiet_for_the_linger_time(
    server: MemoryServer, part: bytes
) -> None:
    quiet = server.connect().send(part)
    server.pass_time(0.5)
    late = server.connect().send(part)
    drain(server)
    pass_drain_ticks(server, 0.4)
    assert not quiet.closed
    pass_drain_ticks(server, 0.5)
    assert (quiet.closed, late.closed) == (True, False)
    pass_drain_ticks(server, 0.5)
    assert late.closed
    assert late.statuses == ([200] if part else [])


def test_a_connection_that_was_long_idle_closes_at_once(server: MemoryServer) -> None:
    client = server.connect().send(request())
    server.pass_time(10)
    drain(server)
    pass_drain_ticks(server, DRAIN_TICK_PERIOD)
    assert client.closed


def test_a_connection_that_comes_while_the_worker_drains_has_one_request(
    server: MemoryServer,
) -> None:
    drain(server)
    client = server.connect().send(request())
    assert read_responses(client)[0].closes
    assert client.closed


def test_requests_in_progress_are_answered_and_the_worker_waits_for_them() -> None:
    gate = Gate()

    async def app(scope: Event, _receive: Receive, send: Send) -> None:
        await gate.wait()
        await HELLO(scope, _receive, send)

    with AsgiServer(app) as server:
        clients = [server.connect().send(request() * 2) for _ in range(3)]
        drain(server)
        empty = server.loop.create_task(server.state.wait_until_empty())
        server.settle()
        assert not empty.done()
        gate.open(server)
        for client in clients:
            first, second = read_responses(client, b"GET", b"GET")
            assert (first.status, second.status) == (200, 200)
            assert (first.closes, second.closes) == (False, True)
            assert client.closed
        server.settle()
        assert empty.done()


def test_a_response_that_began_before_the_drain_ends_and_its_connection_with_it() -> None:
    gate = Gate()

    async def app(_scope: Event, _receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"hel", more=True))
        await gate.wait()
        await send(body(b"lo"))

    with AsgiServer(app, Limits(linger=0)) as server:
        client = server.connect().send(request())
        drain(server)
        gate.open(server)
        assert read_responses(client)[0].body == b"hello"
        pass_drain_ticks(server, TICK_PERIOD)
        assert client.closed


def test_a_worker_without_connections_is_drained_at_once() -> None:
    with MemoryServer(False) as server:
        drain(server)
        empty = server.loop.create_task(server.state.wait_until_empty())
        server.settle()
        assert empty.done()
        assert server.state.tick() == DRAIN_TICK_PERIOD
