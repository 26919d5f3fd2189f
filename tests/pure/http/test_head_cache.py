"""Cached heads: bytes that were seen before mean the same again, and no other bytes do.

A head that is cached for the wrong bytes would be given to other clients. These tests try to
achieve that.
"""

from collections.abc import Iterator

import pytest

from prefork.http.http1.head_cache import MAX_CACHED_HEAD_SIZE, MAX_CACHED_HEADS, MAX_SEEN_HEADS
from prefork.http.limits import Limits
from tests.fuzz.memory import MemoryServer, Seen

GET = b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /pay HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET /evil HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
UPGRADE_BODY = UPGRADE.replace(b"Upgrade: x", b"Upgrade: x\r\nContent-Length: 3") + b"abc"


@pytest.fixture(params=[False, True], ids=["spooled", "streamed"])
def server(request: pytest.FixtureRequest) -> Iterator[MemoryServer]:
    with MemoryServer(request.param) as server:
        yield server


def alone(server: MemoryServer, data: bytes) -> list[Seen]:
    """Return the requests that a server with empty caches reads in some bytes."""
    with MemoryServer(server.recorder.streams_body) as fresh:
        fresh.connect().send(data)
        return fresh.take_seen()


def test_a_request_that_was_seen_twice_is_cached_for_all_connections(server: MemoryServer) -> None:
    for known in (0, 0, 1, 1):
        assert len(server.http1.head_cache) == known
        server.connect().send(GET)
    first, *others = server.take_seen()
    assert first.target == b"/a?b"
    assert others == [first] * 3


FIRST = {
    "get": GET,
    "two": GET + GET,
    "upgrade": UPGRADE,
    "upgrade-with-body": UPGRADE_BODY,
    "upgrade-and-more": UPGRADE + GET,
    "upgrade-twice": UPGRADE + UPGRADE,
    "body": POST,
    "body-of-others": POST.replace(b"hello", b"GET /"),
    "body-of-lines": POST.replace(b"hello", b"\r\n\r\n!"),
    "body-after-lines": b"\r\n\r\n" + POST,
    "body-and-close": POST.replace(b"Host: a", b"Host: a\r\nConnection: close"),
    "body-expected": POST.replace(b"Host: a", b"Host: a\r\nExpect: 100-continue"),
    "body-upgraded": UPGRADE_BODY.replace(b"GET", b"POST"),
    "body-of-get": POST.replace(b"POST", b"GET"),
    "body-large": POST.replace(b"Host: a", b"Host: a\r\nX: " + b"x" * MAX_CACHED_HEAD_SIZE),
    "no-body": POST.replace(b"5", b"0")[:-5],
    "post": b"POST /pay HTTP/1.1\r\nHost: a\r\n\r\n",
    "head-of-body": POST[:-5],
    "body-and-more": POST + GET,
    "chunked": CHUNKED + b"0\r\n\r\n",
    "chunks": CHUNKED + b"1\r\na\r\n0\r\n\r\n",
    "head": b"HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n",
    "empty-line": b"\r\n",
    "lone-cr": b"\r",
    "part": GET[:-1],
    "body-in-part": POST[:-1],
    "keep-alive-1.0": b"GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "large": b"GET /large HTTP/1.1\r\nHost: a\r\nX: " + b"x" * MAX_CACHED_HEAD_SIZE + b"\r\n\r\n",
}
PARTS = ("part", "body-in-part", "head-of-body")
SECOND = {name: data for name, data in FIRST.items() if name not in PARTS}
SECOND |= {"end-of-part": b"\n", "end-of-body": b"o", "looks-like-a-body": b"hello" + GET}


@pytest.mark.parametrize("second", list(SECOND))
@pytest.mark.parametrize("first", list(FIRST))
def test_no_sequence_of_requests_poisons_the_requests_of_other_clients(
    server: MemoryServer, first: str, second: str
) -> None:
    expected = alone(server, FIRST[first] + SECOND[second])
    victims = {name: alone(server, data) for name, data in SECOND.items()}
    server.take_seen()
    for _ in range(3):
        client = server.connect().send(FIRST[first], SECOND[second])
        assert server.take_seen() == expected
        client.leave()
    for name, data in SECOND.items():
        server.connect().send(data)
        assert server.take_seen() == victims[name], name


def test_a_head_that_announces_a_body_is_cached_with_any_body(server: MemoryServer) -> None:
    for content in (b"first", b"other", b"\r\n\r\n!", b"GET /"):
        assert len(server.http1.head_cache.with_body) == (content not in (b"first", b"other"))
        server.connect().send(POST.replace(b"hello", content))
        (seen,) = server.take_seen()
        assert seen.body == content


def test_a_body_ends_where_its_length_says(server: MemoryServer) -> None:
    for _ in range(3):
        server.connect().send(POST)
    server.take_seen()
    client = server.connect().send(POST + GET, POST + POST[:-1], b"!" + POST[:-5], b"again", GET)
    seen = [(seen.target, seen.body) for seen in server.take_seen()]
    get, hello = (b"/a?b", b""), (b"/pay", b"hello")
    assert seen == [hello, get, hello, (b"/pay", b"hell!"), (b"/pay", b"again"), get]
    assert client.statuses == [200] * 6


def test_the_bytes_of_a_cached_request_inside_of_a_body_stay_a_body(server: MemoryServer) -> None:
    for _ in range(3):
        server.connect().send(GET)
    assert GET in server.http1.head_cache
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2 * len(GET))
    for pieces in ([head, GET, GET], [head + GET, GET], [head[:-2], b"\r\n", GET, GET]):
        server.take_seen()
        server.connect().send(*pieces)
        (seen,) = server.take_seen()
        assert (seen.method, seen.body) == ("POST", GET + GET)


def test_the_bytes_of_a_cached_request_inside_of_a_head_stay_a_part_of_it(
    server: MemoryServer,
) -> None:
    tail = b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n"
    for _ in range(3):
        server.connect().send(tail)
    server.take_seen()
    client = server.connect().send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", tail)
    # It is the second Host of the same request.
    assert client.statuses == [400]
    assert server.take_seen() == []


def test_bytes_behind_a_request_that_ends_the_connection_are_not_read(server: MemoryServer) -> None:
    for _ in range(3):
        server.connect().send(GET)
    server.take_seen()
    last = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    for pieces in ([last, GET], [last, GET], [last, GET], [last + GET], [last, last, GET]):
        client = server.connect().send(*pieces)
        assert [seen.target for seen in server.take_seen()] == [b"/last"]
        assert client.statuses == [200]
        assert client.closed


def test_bytes_behind_the_last_request_are_not_read_while_it_is_being_answered() -> None:
    last = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with MemoryServer(False) as server:
        for _ in range(3):
            later = server.recorder.later = []
            client = server.connect().send(last, GET, GET)
            (exchange,) = later
            server.recorder.answer(exchange)
            server.settle()
            assert [seen.target for seen in server.take_seen()] == [b"/last"]
            assert client.statuses == [200]
            assert client.closed


def test_nothing_is_read_after_a_refusal(server: MemoryServer) -> None:
    for _ in range(3):
        server.connect().send(GET)
    server.take_seen()
    client = server.connect().send(b"GET bad HTTP/1.1\r\nHost: a\r\n\r\n", GET)
    assert server.take_seen() == []
    assert client.statuses == [400]


def test_a_cached_request_may_end_its_connection(server: MemoryServer) -> None:
    closing = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    for _ in range(4):
        assert server.connect().send(closing).closed
        assert server.connect().send(FIRST["body-and-close"]).closed
    assert set(server.http1.head_cache) == {closing}
    assert len(server.http1.head_cache.with_body) == 1
    assert not server.http1.request_cache.fields


def test_without_keep_alive_cached_requests_end_their_connections_too() -> None:
    with MemoryServer(False, Limits(keepalive=0)) as server:
        for _ in range(4):
            client = server.connect().send(GET)
            assert (client.statuses, client.closed) == ([200], True)
        assert server.http1.head_cache


def test_a_cached_request_ends_its_connection_when_the_worker_drains(
    server: MemoryServer,
) -> None:
    clients = [server.connect().send(GET) for _ in range(3)]
    server.state.drain(has_no_successor=False)
    client = clients[0].send(GET)
    assert client.statuses == [200, 200]
    assert client.out.count(b"Connection: close") == 1
    assert client.closed


def test_a_cached_request_waits_its_turn() -> None:
    """While a response is due, the bytes of a cached request are parsed and keep their place."""
    with MemoryServer(False) as server:
        for _ in range(3):
            server.connect().send(GET)
        later = server.recorder.later = []
        server.take_seen()
        client = server.connect().send(GET, GET.replace(b"/a", b"/z"), GET)
        assert [seen.target for seen in server.take_seen()] == [b"/a?b"]
        for number in range(3):
            server.recorder.answer(later.pop(), body=b"%d\r\n" % number)
            server.settle()
        assert [seen.target for seen in server.take_seen()] == [b"/z?b", b"/a?b"]
        bodies = [line for line in client.out.split(b"\r\n") if line.isdigit()]
        assert bodies == [b"0", b"1", b"2"]


def test_the_cache_of_heads_is_bounded(server: MemoryServer) -> None:
    client = server.connect()
    for number in range(MAX_CACHED_HEADS + MAX_SEEN_HEADS):
        request = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number
        client.send(request, *([request] if number < 2 * MAX_CACHED_HEADS else []))
        assert len(server.http1.head_cache) <= MAX_CACHED_HEADS
        assert len(server.http1.head_cache._seen) <= MAX_SEEN_HEADS


def test_a_client_that_does_not_read_gets_no_further_responses(server: MemoryServer) -> None:
    """Otherwise it could make the server keep as many responses as it can send requests."""
    client = server.connect(swallows=10)
    client.send(GET + GET + GET, GET, GET)
    assert client.statuses == [200]
    client.transport.drain()
    server.settle()
    assert client.statuses == [200] * 5


def test_a_half_closed_client_that_reads_late_gets_all_its_responses() -> None:
    with MemoryServer(False) as server:
        client = server.connect(swallows=10).send(GET + GET + GET).finish()
        assert client.statuses == [200]
        client.transport.drain()
        server.settle()
        assert client.statuses == [200] * 3
        assert client.closed


def test_requests_that_wait_for_a_slow_reader_are_answered_while_the_worker_drains(
    server: MemoryServer,
) -> None:
    client = server.connect(swallows=10).send(GET + GET + GET)
    server.state.drain(has_no_successor=False)
    client.transport.drain()
    server.settle()
    assert client.statuses == [200] * 3
    assert client.closed
