"""Limits that count requests: on one connection, and in progress in a worker."""

from collections.abc import Iterator

import pytest

from prefork.http.limits import Limits
from tests.fuzz.memory import MemoryServer

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"


@pytest.fixture(params=[False, True], ids=["spooled", "streamed"])
def three(request: pytest.FixtureRequest) -> Iterator[MemoryServer]:
    with MemoryServer(request.param, Limits(requests=3)) as server:
        yield server


@pytest.fixture
def one_at_a_time() -> Iterator[MemoryServer]:
    with MemoryServer(False, Limits(concurrency=1)) as server:
        server.recorder.later = []
        yield server


def test_the_response_to_the_last_request_says_connection_close(three: MemoryServer) -> None:
    client = three.connect().send(GET, GET)
    assert not client.closed
    client.send(GET)
    assert client.statuses == [200] * 3
    assert client.out.count(b"Connection: close") == 1
    assert client.closed


def test_requests_behind_the_last_one_are_not_answered(three: MemoryServer) -> None:
    client = three.connect().send(GET * 5)
    assert client.statuses == [200] * 3
    assert client.out.count(b"Connection: close") == 1
    # Half-closed, because a reset for the unread requests would destroy the responses.
    assert client.transport.half_closed
    assert len(three.take_seen()) == 3


def test_each_connection_has_its_own_count(three: MemoryServer) -> None:
    clients = [three.connect() for _ in range(3)]
    for _ in range(2):
        assert not any(client.send(GET).closed for client in clients)
    assert all(client.send(GET).closed for client in clients)


def test_a_busy_server_says_when_to_try_again_and_keeps_the_connection(
    one_at_a_time: MemoryServer,
) -> None:
    server, later = one_at_a_time, one_at_a_time.recorder.later
    assert later is not None
    first, second = server.connect().send(GET), server.connect().send(GET, POST + b"hello")
    assert second.statuses == [503, 503]
    assert second.out.count(b"Retry-After: 1\r\n") == 2
    assert not second.closed
    server.recorder.answer(later.pop())
    assert first.statuses == [200]
    second.send(GET)
    server.recorder.answer(later.pop())
    assert second.statuses == [503, 503, 200]
    second.leave()
    assert server.state.load.requests_in_flight == 0


def test_the_body_of_a_request_that_gets_503_takes_no_memory(
    one_at_a_time: MemoryServer,
) -> None:
    free = one_at_a_time.state.buffer_pool.free_blocks
    one_at_a_time.connect().send(GET)
    client = one_at_a_time.connect().send(POST.replace(b"5", b"200000"), b"x" * 100_000)
    assert one_at_a_time.state.buffer_pool.free_blocks < free
    assert client.send(b"x" * 100_000).statuses == [503]
    assert one_at_a_time.state.buffer_pool.free_blocks == free


def test_the_request_of_a_client_that_left_does_not_count(one_at_a_time: MemoryServer) -> None:
    server = one_at_a_time
    server.connect().send(GET).leave()
    assert server.state.load.requests_in_flight == 0
    assert server.connect().send(GET).statuses == []
    assert server.state.load.requests_in_flight == 1


def test_requests_of_one_connection_never_exceed_a_concurrency_of_one(
    one_at_a_time: MemoryServer,
) -> None:
    server, later = one_at_a_time, one_at_a_time.recorder.later
    assert later is not None
    client = server.connect().send(GET * 3)
    for _ in range(3):
        server.recorder.answer(later.pop())
        server.settle()
    assert client.statuses == [200] * 3


def test_a_503_does_not_wait_for_the_body() -> None:
    with MemoryServer(True, Limits(concurrency=1)) as server:
        busy = server.connect().send(POST)
        client = server.connect().send(POST)
        assert client.statuses == [503]
        assert client.transport.half_closed
        client.send(b"hello")
        assert busy.send(b"hello").statuses == [200]
        assert [seen.body for seen in server.take_seen()] == [b"hello"]
        assert server.state.load.requests_in_flight == 0
