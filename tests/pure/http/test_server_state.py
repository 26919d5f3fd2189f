"""The reports to a worker about its requests: how many ended, when it may sleep, what it drops."""

import math
from collections.abc import Iterator
from functools import partial

import pytest

from prefork.http.server_state import UNUSED_MEMORY_AFTER
from prefork.http.tick import TICK_PERIOD
from tests.fuzz.memory import MemoryServer
from tests.pure.http.asgi_server import AsgiServer, body, read_response, request, sending, start

HELLO = sending(start(), body(b"hello"))


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    with MemoryServer(False) as server:
        yield server


def test_a_worker_is_told_once_that_it_has_answered_so_many_requests(
    server: MemoryServer,
) -> None:
    told: list[int] = []
    server.state.call_after_requests(3, lambda: told.append(server.state.counters.requests))
    client = server.connect()
    for _ in range(6):
        client.send(request())
    assert told == [3]


def test_requests_that_end_without_a_response_count_as_well(server: MemoryServer) -> None:
    told: list[int] = []
    server.state.call_after_requests(1, partial(told.append, 1))
    server.recorder.later = []
    server.connect().send(request()).leave()
    assert told == [1]


def test_a_busy_worker_is_told_when_a_request_or_a_connection_has_ended(
    server: MemoryServer,
) -> None:
    told: list[str] = []
    client = server.connect()
    server.state.call_when_less_busy(partial(told.append, "request"))
    assert told == []
    client.send(request(), request())
    assert told == ["request"]
    server.state.call_when_less_busy(partial(told.append, "connection"))
    client.leave()
    assert told == ["request", "connection"]


def test_after_each_response_the_worker_may_give_the_connection_away(
    server: MemoryServer,
) -> None:
    given: list[object] = []
    client = server.connect().send(request())
    server.state.call_after_each_response(given.append)
    client.send(request(), request())
    assert given == [client.connection] * 2
    server.state.call_after_each_response(None)
    client.send(request(), request())
    assert given == [client.connection] * 2


def test_a_worker_without_connections_needs_no_tick(server: MemoryServer) -> None:
    server.state.tick()
    assert server.state.tickless_seconds() == math.inf


def test_a_worker_with_idle_connections_needs_a_tick_now_and_then(server: MemoryServer) -> None:
    client = server.connect().send(request())
    assert server.state.tickless_seconds() == 0
    server.pass_time(30)
    assert 0 < server.state.tickless_seconds() < math.inf
    client.send(request())
    server.pass_time(TICK_PERIOD)
    assert server.state.tickless_seconds() == 0  # the next check of idle connections is to come


def test_a_worker_with_a_request_needs_each_tick(server: MemoryServer) -> None:
    server.recorder.later = []
    server.connect().send(request())
    server.pass_time(UNUSED_MEMORY_AFTER + 1)
    assert server.state.tickless_seconds() == 0


def test_a_forked_child_cannot_answer_the_requests_of_its_worker(server: MemoryServer) -> None:
    server.recorder.later = []
    client, idle = server.connect().send(request()), server.connect()
    server.state.disown_requests()
    with pytest.raises(ConnectionResetError):
        server.recorder.answer(server.recorder.later.pop())
    assert client.out == idle.out == b""


def test_the_server_may_add_a_field_that_the_app_does_not_send() -> None:
    """As it does with the ids of requests."""
    for fields, ours in (((), b"7"), (((b"x-id", b"8"),), b"8")):
        with AsgiServer(sending(start(200, *fields), body())) as server:
            handle = server.state.handle

            def add_id(exchange: object, handle: object = handle) -> None:
                exchange.extra_fields = b"X-Id: 7\r\n"  # type: ignore[attr-defined]
                handle(exchange)  # type: ignore[operator]

            server.state.handle = add_id
            server.state.plain_calls = None
            assert read_response(server.connect().send(request())).fields[b"x-id"] == ours


def test_two_new_connections_count_as_requests_for_a_moment(server: MemoryServer) -> None:
    clients = [server.connect() for _ in range(2)]
    assert server.state.load.requests_in_flight == 0
    word = server.state.load.word
    clients[0].leave()
    assert server.state.load.word < word
    clients[1].send(request())
    assert server.state.load.requests_in_flight == 0
