"""A large body is received past the parser: exactly its bytes, into as much memory as there is.

What else may happen to a connection happens to it all the same. (To one server of tests/fuzz all
bodies are large, so that what surrounds them is fuzzed, too.)
"""

import os
from collections.abc import Iterator

import pytest

from prefork.http.buffer_pool import BLOCK_SIZE
from prefork.http.bulk_receiver import MIN_BULK_SIZE, BulkReceiver
from prefork.http.limits import Limits
from tests.fuzz.memory import Client, MemoryServer

GET = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
SIZE = 5 * MIN_BULK_SIZE + 3
CONTENT = os.urandom(SIZE)
BLOCKS = -(-SIZE // BLOCK_SIZE)


PIECE = 2 * MIN_BULK_SIZE
"""Of those who are woken for large pieces only."""


def head(size: int, *fields: bytes) -> bytes:
    lines = [b"POST /up HTTP/1.1", b"Host: a", b"Content-Length: %d" % size, *fields, b"", b""]
    return b"\r\n".join(lines)


def is_taken_in(client: Client) -> bool:
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
    """Room for one body, and a bit."""
    with MemoryServer(
        False, Limits(body_memory=(BLOCKS + 2) * BLOCK_SIZE, body_timeout=10)
    ) as server:
        yield server
    assert server.state.buffer_pool.free_blocks == BLOCKS + 2


@pytest.mark.parametrize("first", [0, 1, 1000, 20_000, BLOCK_SIZE, SIZE - MIN_BULK_SIZE - 1])
@pytest.mark.parametrize("step", [SIZE, BLOCK_SIZE, 50_000])
def test_the_app_gets_what_was_sent(server: MemoryServer, first: int, step: int) -> None:
    client = server.connect().send(head(SIZE) + CONTENT[:first])
    assert is_taken_in(client)
    rest = CONTENT[first:]
    client.send(*(rest[at : at + step] for at in range(0, len(rest), step)))
    (seen,) = server.take_seen()
    assert seen.body == CONTENT
    assert client.statuses == [200]
    assert not is_taken_in(client)


def test_what_follows_in_the_same_piece_is_the_next_request(server: MemoryServer) -> None:
    for _ in range(3):
        server.connect().send(GET)
    server.take_seen()
    client = server.connect().send(head(SIZE), CONTENT + GET + GET, GET)
    assert [seen.target for seen in server.take_seen()] == [b"/up", *[b"/next"] * 3]
    assert client.statuses == [200] * 4
    assert not client.closed


def test_one_after_the_other_on_one_connection(server: MemoryServer) -> None:
    client = server.connect()
    for _ in range(3):
        client.send(head(SIZE), CONTENT)
    assert [len(seen.body) for seen in server.take_seen()] == [SIZE] * 3
    assert client.statuses == [200] * 3


def test_what_follows_the_last_request_is_not_answered(server: MemoryServer) -> None:
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


def test_it_is_not_for_those_whose_rest_is_small_or_whose_length_is_unknown(
    server: MemoryServer,
) -> None:
    assert not is_taken_in(server.connect().send(head(MIN_BULK_SIZE)))
    chunked = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    assert not is_taken_in(server.connect().send(chunked + b"%x\r\n" % SIZE))
    assert not is_taken_in(server.connect().send(head(SIZE) + CONTENT[:-MIN_BULK_SIZE]))
    server.recorder.later = []
    assert not is_taken_in(server.connect().send(GET + head(SIZE)))


def test_the_client_that_waits_to_be_invited_is(server: MemoryServer) -> None:
    client = server.connect().send(head(SIZE, b"Expect: 100-continue"))
    assert client.statuses == [100]
    assert client.send(CONTENT).statuses == [100, 200]


def test_a_client_that_stops_gets_a_408_and_what_it_still_sends_is_discarded(
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
def test_a_client_that_leaves_leaves_nothing(server: MemoryServer, ends: str) -> None:
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


def test_who_finds_no_room_waits_for_those_who_came_before(one_at_a_time: MemoryServer) -> None:
    server = one_at_a_time
    clients = [server.connect().send(head(SIZE), CONTENT[:MIN_BULK_SIZE]) for _ in range(3)]
    for number, client in enumerate(clients, 1):
        client.send(CONTENT[MIN_BULK_SIZE:])
        assert [seen.body for seen in server.take_seen()] == [CONTENT]
        assert [each.statuses for each in clients].count([200]) == number


def test_who_waits_in_vain_goes_to_disk(one_at_a_time: MemoryServer) -> None:
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


def test_who_leaves_while_he_waits_is_not_waited_for(one_at_a_time: MemoryServer) -> None:
    server = one_at_a_time
    first, second, third = (server.connect().send(head(SIZE)) for _ in range(3))
    second.leave()
    first.send(CONTENT)
    assert not third.transport.is_paused
    assert third.send(CONTENT).statuses == [200]


@pytest.fixture
def by_piece(server: MemoryServer) -> MemoryServer:
    server.state.bulk_receivers.low_water_mark = PIECE
    return server


def waits_for(client: Client) -> int:
    """Bytes that must have come before the server hears of any."""
    return client.transport.enough


def test_it_is_woken_for_large_pieces_but_for_the_last_ones(by_piece: MemoryServer) -> None:
    client = by_piece.connect().send(head(SIZE))
    assert waits_for(client) == PIECE
    client.send(CONTENT[: PIECE - 1])
    assert by_piece.state.bulk_receivers
    client.send(CONTENT[PIECE - 1 : PIECE])
    assert waits_for(client) == 1
    assert not by_piece.state.bulk_receivers
    assert client.send(CONTENT[PIECE:] + GET).statuses == [200, 200]
    assert [seen.body for seen in by_piece.take_seen()] == [CONTENT, b""]


def test_nobody_waits_for_pieces_of_a_body_that_has_only_one(by_piece: MemoryServer) -> None:
    assert waits_for(by_piece.connect().send(head(2 * PIECE - 1))) == 1


def test_who_is_slower_than_that_is_read_as_it_comes(by_piece: MemoryServer) -> None:
    """And loses nothing of the time that is his: what lies in the kernel counts."""
    client = by_piece.connect().send(head(SIZE))
    for at in range(8):
        client.send(CONTENT[at : at + 1])
        by_piece.pass_time(2)
    assert waits_for(client) == 1
    assert not by_piece.state.bulk_receivers
    assert client.send(CONTENT[8:]).statuses == [200]
    assert [seen.body for seen in by_piece.take_seen()] == [CONTENT]


def test_what_came_just_in_time_counts_though_it_was_not_read_yet() -> None:
    with MemoryServer(False, Limits(body_timeout=0.2)) as server:
        server.state.bulk_receivers.low_water_mark = PIECE
        client = server.connect().send(head(SIZE), CONTENT[:1])
        server.pass_time(0.5)
        assert client.statuses == []
        assert client.send(CONTENT[1:]).statuses == [200]


def test_who_sends_large_pieces_goes_on_to_be_read_by_piece(by_piece: MemoryServer) -> None:
    size = 20 * PIECE
    client = by_piece.connect().send(head(size))
    for _ in range(19):
        assert waits_for(client) == PIECE
        client.send(bytes(PIECE))
        by_piece.pass_time(0.25)
    assert waits_for(client) == 1
    assert client.send(bytes(PIECE)).statuses == [200]


@pytest.mark.parametrize("ends", ["leave", "finish"])
def test_a_client_that_leaves_in_between_leaves_nothing(by_piece: MemoryServer, ends: str) -> None:
    client = by_piece.connect().send(head(SIZE), CONTENT[:MIN_BULK_SIZE])
    getattr(client, ends)()
    assert client.transport.closing
    assert not by_piece.state.bulk_receivers
    assert not by_piece.state.connections


@pytest.mark.parametrize("streams", [False, True])
def test_what_came_before_a_body_in_its_first_piece_is_not_its_framing(streams: bool) -> None:
    with MemoryServer(streams) as server:
        client = server.connect().send(head(SIZE) + CONTENT + head(100) + b"x", b"x" * 99)
        assert client.statuses == [200, 200]
