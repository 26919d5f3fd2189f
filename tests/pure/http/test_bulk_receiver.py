"""Large bodies are received without the parser: exactly their bytes, into memory or to disk.

All other events of a connection are handled as without it. One server of tests/fuzz takes all
bodies for large ones, so the change of protocols is fuzzed, too.
"""

import os
from collections.abc import Iterator

import pytest

from prefork.http.buffer_pool import BLOCK_SIZE
from prefork.http.http1.bulk_receiver import MIN_BULK_SIZE, BulkReceiver
from prefork.http.limits import Limits
from prefork.http.spool_disk import SpoolDisk
from tests.fuzz.memory import Client, MemoryServer

GET = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
SIZE = 5 * MIN_BULK_SIZE + 3
CONTENT = os.urandom(SIZE)
BLOCKS = -(-SIZE // BLOCK_SIZE)


PIECE = 2 * MIN_BULK_SIZE
"""The low-water mark of the tests."""


def head(size: int, *fields: bytes) -> bytes:
    lines = [b"POST /up HTTP/1.1", b"Host: a", b"Content-Length: %d" % size, *fields, b"", b""]
    return b"\r\n".join(lines)


def is_bulk_received(client: Client) -> bool:
    return isinstance(client.transport.protocol, BulkReceiver)


@pytest.fixture(params=[0, BLOCKS, 5 * BLOCKS], ids=["on-disk", "just-enough", "much-room"])
def server(request: pytest.FixtureRequest) -> Iterator[MemoryServer]:
    with MemoryServer(
        False, Limits(body_memory=request.param * BLOCK_SIZE, body_timeout=10)
    ) as server:
        yield server
    assert server.state.buffer_pool.free_blocks == request.param


@pytest.fixture
def one_at_a_time() -> Iterator[MemoryServer]:
    """A server whose memory holds one body and two blocks more."""
    with MemoryServer(
        False, Limits(body_memory=(BLOCKS + 2) * BLOCK_SIZE, body_timeout=10)
    ) as server:
        yield server
    assert server.state.buffer_pool.free_blocks == BLOCKS + 2


@pytest.mark.parametrize("first", [0, 1, 1000, 20_000, BLOCK_SIZE, SIZE - MIN_BULK_SIZE - 1])
@pytest.mark.parametrize("step", [SIZE, BLOCK_SIZE, 50_000])
def test_the_app_gets_the_bytes_that_were_sent(server: MemoryServer, first: int, step: int) -> None:
    client = server.connect().send(head(SIZE) + CONTENT[:first])
    assert is_bulk_received(client)
    rest = CONTENT[first:]
    client.send(*(rest[at : at + step] for at in range(0, len(rest), step)))
    (seen,) = server.take_seen()
    assert seen.body == CONTENT
    assert client.statuses == [200]
    assert not is_bulk_received(client)


def test_bytes_behind_the_body_in_the_same_piece_are_the_next_request(server: MemoryServer) -> None:
    for _ in range(3):
        server.connect().send(GET)
    server.take_seen()
    client = server.connect().send(head(SIZE), CONTENT + GET + GET, GET)
    assert [seen.target for seen in server.take_seen()] == [b"/up", *[b"/next"] * 3]
    assert client.statuses == [200] * 4
    assert not client.closed


def test_a_connection_receives_one_large_body_after_another(server: MemoryServer) -> None:
    client = server.connect()
    for _ in range(3):
        client.send(head(SIZE), CONTENT)
    assert [len(seen.body) for seen in server.take_seen()] == [SIZE] * 3
    assert client.statuses == [200] * 3


def test_a_request_behind_the_last_one_is_not_answered(server: MemoryServer) -> None:
    client = server.connect().send(head(SIZE, b"Connection: close"), CONTENT + GET)
    assert [seen.target for seen in server.take_seen()] == [b"/up"]
    assert client.statuses == [200]
    assert client.closed


def test_an_upgrade_that_is_ignored_does_not_change_the_body(server: MemoryServer) -> None:
    upgrade = (b"Connection: Upgrade", b"Upgrade: x")
    client = server.connect().send(
        head(SIZE, *upgrade), CONTENT[:MIN_BULK_SIZE], CONTENT[MIN_BULK_SIZE:] + GET
    )
    first, second = server.take_seen()
    assert (first.body, second.target) == (CONTENT, b"/next")
    assert client.statuses == [200, 200]


def test_small_rests_and_bodies_of_unknown_length_pass_through_the_parser(
    server: MemoryServer,
) -> None:
    assert not is_bulk_received(server.connect().send(head(MIN_BULK_SIZE)))
    chunked = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    assert not is_bulk_received(server.connect().send(chunked + b"%x\r\n" % SIZE))
    assert not is_bulk_received(server.connect().send(head(SIZE) + CONTENT[:-MIN_BULK_SIZE]))
    server.recorder.later = []
    assert not is_bulk_received(server.connect().send(GET + head(SIZE)))


def test_a_client_that_waits_for_100_continue_gets_it(server: MemoryServer) -> None:
    client = server.connect().send(head(SIZE, b"Expect: 100-continue"))
    assert client.statuses == [100]
    assert client.send(CONTENT).statuses == [100, 200]


def test_a_client_that_stops_gets_a_408_and_its_later_bytes_are_discarded(
    server: MemoryServer,
) -> None:
    client = server.connect().send(head(SIZE), CONTENT[:MIN_BULK_SIZE])
    server.pass_time(8)
    client.send(CONTENT[MIN_BULK_SIZE : 2 * MIN_BULK_SIZE])
    server.pass_time(8)
    assert client.statuses == []
    server.pass_time(4)
    assert client.statuses == [408]
    client.send(CONTENT[2 * MIN_BULK_SIZE :], GET)
    assert client.statuses == [408]
    assert server.take_seen() == []


@pytest.mark.parametrize("ends", ["leave", "finish"])
def test_nothing_stays_of_a_client_that_leaves(server: MemoryServer, ends: str) -> None:
    client = server.connect().send(head(SIZE), CONTENT[:MIN_BULK_SIZE])
    getattr(client, ends)()
    assert client.transport.closing
    assert not server.state.connections
    assert server.take_seen() == []


def test_a_body_that_is_too_slow_is_refused() -> None:
    with MemoryServer(False, Limits(body_rate=100_000)) as server:
        slow, fast = (server.connect().send(head(SIZE)) for _ in range(2))
        for at in range(0, 10 * 50_000, 50_000):
            slow.send(CONTENT[at // 2 : at // 2 + 25_000])
            fast.send(CONTENT[at : at + 50_000])
            server.pass_time(0.5)
        assert fast.statuses == []
        server.pass_time(3)
        assert slow.statuses == [408]
        assert fast.send(CONTENT[500_000:]).statuses == [200]


def test_a_body_that_finds_the_pool_full_waits_for_earlier_bodies(
    one_at_a_time: MemoryServer,
) -> None:
    server = one_at_a_time
    clients = [server.connect().send(head(SIZE), CONTENT[:MIN_BULK_SIZE]) for _ in range(3)]
    for number, client in enumerate(clients, 1):
        client.send(CONTENT[MIN_BULK_SIZE:])
        assert [seen.body for seen in server.take_seen()] == [CONTENT]
        assert [each.statuses for each in clients].count([200]) == number


def test_a_body_that_waits_in_vain_goes_to_disk(one_at_a_time: MemoryServer) -> None:
    server = one_at_a_time
    first = server.connect().send(head(SIZE), CONTENT[:MIN_BULK_SIZE])
    second = server.connect().send(head(SIZE), CONTENT)
    assert second.statuses == []
    assert second.transport.is_paused
    server.pass_time(1)
    assert second.statuses == [200]
    first.send(CONTENT[MIN_BULK_SIZE:])
    assert first.statuses == [200]
    assert [seen.body == CONTENT for seen in server.take_seen()] == [True, True]


def test_a_client_that_leaves_while_it_waits_for_memory_is_not_waited_for(
    one_at_a_time: MemoryServer,
) -> None:
    server = one_at_a_time
    first, second, third = (server.connect().send(head(SIZE)) for _ in range(3))
    second.leave()
    first.send(CONTENT)
    assert not third.transport.is_paused
    assert third.send(CONTENT).statuses == [200]


@pytest.mark.parametrize("data", [b"", CONTENT[:MIN_BULK_SIZE]], ids=["silent", "sends"])
def test_a_refused_client_may_read_its_408_late(server: MemoryServer, data: bytes) -> None:
    client = server.connect(swallows=10).send(head(SIZE), CONTENT[:MIN_BULK_SIZE])
    server.pass_time(12)
    assert client.statuses == [408]
    assert client.send(data).catch_up().statuses == [408]
    client.finish()
    assert client.transport.closing


class SmallDisk(MemoryServer):
    """A server without memory for bodies, whose disk holds two of them, but not quite."""

    disk = SpoolDisk(limit=2 * SIZE - 1)


def test_a_body_that_the_disk_cannot_hold_is_refused_while_it_arrives() -> None:
    with SmallDisk(False, Limits(body_memory=0)) as server:
        server.recorder.later = []
        first, second = (server.connect().send(head(SIZE), CONTENT[:1]) for _ in range(2))
        assert second.send(CONTENT[1:]).statuses == []
        first.send(CONTENT[1:-1], CONTENT[-1:], GET)
        assert first.statuses == [503]
        assert b"retry-after: 1" in first.out.lower()
        server.recorder.answer(server.recorder.later.pop())
        assert second.statuses == [200]


@pytest.fixture
def with_low_water_mark(server: MemoryServer) -> MemoryServer:
    server.http1.bulk_receivers.low_water_mark = PIECE
    return server


def low_water_mark(client: Client) -> int:
    """Return the bytes that must wait before the server is woken."""
    return client.transport.enough


def test_the_server_is_woken_for_large_pieces_except_the_last_two(
    with_low_water_mark: MemoryServer,
) -> None:
    client = with_low_water_mark.connect().send(head(SIZE))
    assert low_water_mark(client) == PIECE
    client.send(CONTENT[: PIECE - 1])
    assert with_low_water_mark.http1.bulk_receivers
    client.send(CONTENT[PIECE - 1 : PIECE])
    assert low_water_mark(client) == 1
    assert not with_low_water_mark.http1.bulk_receivers
    assert client.send(CONTENT[PIECE:] + GET).statuses == [200, 200]
    assert [seen.body for seen in with_low_water_mark.take_seen()] == [CONTENT, b""]


def test_a_body_of_less_than_two_pieces_has_no_low_water_mark(
    with_low_water_mark: MemoryServer,
) -> None:
    assert low_water_mark(with_low_water_mark.connect().send(head(2 * PIECE - 1))) == 1


def test_a_slow_client_is_read_as_it_sends(with_low_water_mark: MemoryServer) -> None:
    """Its deadline does not pass meanwhile: bytes that wait in the kernel count."""
    client = with_low_water_mark.connect().send(head(SIZE))
    for at in range(8):
        client.send(CONTENT[at : at + 1])
        with_low_water_mark.pass_time(2)
    assert low_water_mark(client) == 1
    assert not with_low_water_mark.http1.bulk_receivers
    assert client.send(CONTENT[8:]).statuses == [200]
    assert [seen.body for seen in with_low_water_mark.take_seen()] == [CONTENT]


def test_bytes_that_came_in_time_count_before_they_are_read() -> None:
    with MemoryServer(False, Limits(body_timeout=0.2)) as server:
        server.http1.bulk_receivers.low_water_mark = PIECE
        client = server.connect().send(head(SIZE), CONTENT[:1])
        server.pass_time(0.5)
        assert client.statuses == []
        assert client.send(CONTENT[1:]).statuses == [200]


def test_a_fast_client_keeps_its_low_water_mark(with_low_water_mark: MemoryServer) -> None:
    size = 20 * PIECE
    client = with_low_water_mark.connect().send(head(size))
    for _ in range(19):
        assert low_water_mark(client) == PIECE
        client.send(bytes(PIECE))
        with_low_water_mark.pass_time(0.25)
    assert low_water_mark(client) == 1
    assert client.send(bytes(PIECE)).statuses == [200]


@pytest.mark.parametrize("ends", ["leave", "finish"])
def test_nothing_stays_of_a_client_that_leaves_below_the_low_water_mark(
    with_low_water_mark: MemoryServer, ends: str
) -> None:
    client = with_low_water_mark.connect().send(head(SIZE), CONTENT[:MIN_BULK_SIZE])
    getattr(client, ends)()
    assert client.transport.closing
    assert not with_low_water_mark.http1.bulk_receivers
    assert not with_low_water_mark.state.connections


@pytest.mark.parametrize("streams", [False, True])
def test_bytes_before_a_body_in_its_first_piece_do_not_count_as_framing(streams: bool) -> None:
    with MemoryServer(streams) as server:
        client = server.connect().send(head(SIZE) + CONTENT + head(100) + b"x", b"x" * 99)
        assert client.statuses == [200, 200]
