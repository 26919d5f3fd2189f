"""Idle connections keep nothing that only a request needs, and are not checked in each tick."""

from collections.abc import Iterator

import pytest

from prefork.http.http1.reader_pool import MAX_POOLED_READERS
from prefork.http.limits import Limits
from prefork.http.server_state import MAX_IDLE_CHECK_INTERVAL
from tests.fuzz.memory import Client, MemoryServer

GET = b"GET /a HTTP/1.1\r\nHost: a\r\nProxy-Connection: keep-alive\r\n\r\n"
"""A request that the compiled reader leaves to the parser."""

POST = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"

BETWEEN_ROUNDS = 33
"""Seconds after which no check of idle connections comes just when a test's deadline passes."""


@pytest.fixture(params=[False, True], ids=["spooled", "streamed"])
def server(request: pytest.FixtureRequest) -> Iterator[MemoryServer]:
    with MemoryServer(request.param, Limits(keepalive=80, header_timeout=10)) as server:
        yield server


def is_released(server: MemoryServer, client: Client) -> bool:
    """Return whether the server keeps nothing for a connection, and no tick checks it."""
    connection = client.connection
    kept = (
        connection._reader is not server.http1.readers.idle_reader or connection.cache is not None
    )
    return not kept and connection not in server.state.active_connections


def test_a_connection_is_released_soon_after_its_response(server: MemoryServer) -> None:
    client = server.connect().send(GET)
    assert not is_released(server, client)
    server.pass_time(1)
    assert is_released(server, client)
    for number in range(5):
        assert client.send(GET).statuses == [200] * (2 + number)
        server.pass_time(MAX_IDLE_CHECK_INTERVAL)
        assert is_released(server, client)


def test_a_reader_is_lent_to_one_connection_after_another(server: MemoryServer) -> None:
    clients = [server.connect().send(GET, b"\r\n" * number) for number in range(2)]
    first = clients[0].connection._reader
    server.pass_time(1)
    # The second client has begun a request, with an empty line.
    assert [is_released(server, client) for client in clients] == [True, False]
    other = server.connect().send(POST)
    assert other.connection._reader is first
    clients[0].send(POST)
    assert clients[0].connection._reader is not first
    assert other.send(b"other").statuses == clients[0].send(b"first").statuses[1:] == [200]
    assert {seen.body for seen in server.take_seen()} == {b"", b"other", b"first"}


@pytest.mark.parametrize("part", [GET[:5], GET[:-2], POST, POST + b"hell", b"\r"])
def test_a_reader_in_the_middle_of_a_request_is_never_lent_again(
    server: MemoryServer, part: bytes
) -> None:
    client = server.connect().send(GET, part)
    server.pass_time(1)
    assert not is_released(server, client)
    client.leave()
    assert server.connect().send(POST + b"hello").statuses == [200]
    assert server.take_seen()[-1].body == b"hello"


@pytest.mark.parametrize("ending", [b"Connection: close\r\n", b"Connection: keep-alive, close\r\n"])
def test_a_reader_whose_parser_has_ended_is_never_lent_again(
    server: MemoryServer, ending: bytes
) -> None:
    server.connect().send(GET[:-2] + ending + b"\r\n")
    server.pass_time(1)
    assert server.connect().send(GET, GET).statuses == [200, 200]


def test_empty_lines_do_not_add_up_in_a_reader_that_is_lent_again(
    server: MemoryServer,
) -> None:
    for _ in range(3):
        server.connect().send(GET).leave()
    client = server.connect().send(b"\r\n", GET)
    server.pass_time(MAX_IDLE_CHECK_INTERVAL)
    client.leave()
    assert all(reader.size == 0 for reader in server.http1.readers._readers)


def test_the_pool_of_readers_is_bounded(server: MemoryServer) -> None:
    for client in [server.connect().send(GET[:5]) for _ in range(2 * MAX_POOLED_READERS)]:
        client.send(GET[5:])
    server.pass_time(1)
    assert len(server.http1.readers._readers) == MAX_POOLED_READERS


def test_an_idle_connection_is_closed_soon_after_its_deadline(server: MemoryServer) -> None:
    client = server.connect().send(GET)
    server.pass_time(79)
    assert not client.closed
    server.pass_time(7)
    assert client.closed


def test_a_connection_that_sends_nothing_is_closed_in_time(server: MemoryServer) -> None:
    client = server.connect()
    server.pass_time(9)
    assert not client.closed
    server.pass_time(2)
    assert client.closed


def test_a_partial_head_after_an_idle_time_gets_a_408(server: MemoryServer) -> None:
    client = server.connect().send(GET)
    server.pass_time(BETWEEN_ROUNDS)
    client.send(GET[:5])
    server.pass_time(9)
    assert not client.closed
    server.pass_time(2)
    assert client.statuses == [200, 408]


def test_a_partial_body_after_an_idle_time_gets_a_408(server: MemoryServer) -> None:
    client = server.connect().send(GET)
    server.pass_time(BETWEEN_ROUNDS)
    client.send(POST)
    server.pass_time(29)
    assert not client.closed
    server.pass_time(2)
    assert client.statuses == [200, 408]


def test_an_overdue_request_is_found_after_an_idle_time() -> None:
    with MemoryServer(False, Limits(request=30)) as server:
        client = server.connect().send(GET)
        server.pass_time(20)
        server.recorder.later = []
        client.send(GET)
        server.pass_time(29)
        assert server.recorder.overdue_ones == []
        assert server.state.load.requests_in_flight == 1
        server.pass_time(2)
        assert server.recorder.overdue_ones == server.recorder.later


def test_a_client_that_does_not_read_is_found_after_an_idle_time(server: MemoryServer) -> None:
    client = server.connect(swallows=100).send(GET)
    server.pass_time(BETWEEN_ROUNDS)
    client.send(GET)
    server.pass_time(59)
    assert not client.closed
    server.pass_time(2)
    assert client.closed


def test_a_slow_body_is_refused_below_its_rate() -> None:
    with MemoryServer(True, Limits(body_rate=10)) as server:
        slow, fast = server.connect(), server.connect()
        for client in (slow, fast):
            client.send(POST.replace(b"5", b"500"))
        for second in range(12):
            server.pass_time(1)
            fast.send(b"x" * 10)
            slow.send(b"x" * 2)
            assert slow.closed is (second >= 5), second
        assert slow.statuses == [408]
        assert not fast.closed


def test_the_time_in_which_the_server_does_not_read_is_not_the_clients() -> None:
    with MemoryServer(True, Limits(body_rate=1000)) as server:
        client = server.connect().send(POST.replace(b"5", b"90000"))
        client.connection.pause_reading()
        server.pass_time(20)
        client.connection.resume_reading()
        server.pass_time(4)
        client.send(b"x" * 100)
        server.pass_time(1)
        client.send(b"x" * 89900)
        assert client.statuses == [200]
