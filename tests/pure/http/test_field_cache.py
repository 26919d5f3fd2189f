"""Requests whose fields are cached are read without the parser, and mean the same as to it.

Clients decide which fields are cached, and the cache serves other clients. These tests try to make
one request pass for another. Requests that are left to the parser cannot.
"""

import random
from collections.abc import Iterator

import pytest

from prefork.http.http1 import field_cache
from prefork.http.http1.field_cache import MAX_CACHED_FIELDS
from prefork.http.limits import Limits
from prefork.http.request import CachedFieldsHead
from tests.fuzz.memory import MemoryServer, Seen

AGENT = b"User-Agent: x"
PLAIN = [b"Host: a", AGENT, b"Connection: keep-alive"]
COOKIE = b"Cookie: b=c"
SPLICES = (
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b"\0", b":", b"\xe9", b"\x7f", b"#", b"?"),
    *(
        b"\r\n ",
        b"\r\n" + COOKIE,
        b"\r\n" + COOKIE + b"\r",
        b"Cookie: ",
        b"\r\n" + COOKIE + b"\r\n",
    ),
    *(b"\r\ncookie: d", b"\r\nHost: b", b"\r\nContent-Length: 4", b"\r\nConnection: close"),
    *(b"\r\nTransfer-Encoding: chunked", b" HTTP/1.1\r\n", b"%", b"/", b"\r\nX_Y: z"),
)


def request(line: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join([line + b" HTTP/1.1", *lines, b"", b""])


def bare(number: int) -> bytes:
    return request(b"GET /%d" % number, *PLAIN)


def first(number: int) -> bytes:
    return request(b"GET /%d" % number, b"Cookie: a=%d" % number, *PLAIN)


def middle(number: int) -> bytes:
    return request(b"HEAD /%d?q" % number, *PLAIN[:2], b"Cookie:  a=%d " % number, *PLAIN[2:])


def last(number: int) -> bytes:
    return request(b"DELETE /%d?" % number, *PLAIN, b"Cookie: a=%d" % number)


SHAPES = [bare, first, middle, last]
shapes = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture(params=[False, True], ids=["spooled", "streamed"])
def server(request: pytest.FixtureRequest) -> Iterator[MemoryServer]:
    with MemoryServer(request.param) as server:
        yield server


Outcome = tuple[list[Seen], list[int], bool]


def outcome(server: MemoryServer, data: bytes) -> Outcome:
    server.take_seen()
    server.http1.request_cache.fields.misses = 0
    client = server.connect().send(data)
    result = server.take_seen(), client.statuses, client.closed
    client.leave()
    return result


def alone(data: bytes) -> Outcome:
    """Return the outcome of a request on a server with empty caches."""
    with MemoryServer(False) as fresh:
        return outcome(fresh, data)


def teach(server: MemoryServer) -> None:
    """Have a server cache the fields of all shapes, which differ in the cookie only."""
    for number in range(3):
        for shape in SHAPES:
            server.connect().send(shape(number))
    assert len(server.http1.request_cache.fields) == 1


def is_cached(server: MemoryServer, data: bytes) -> bool:
    server.http1.request_cache.fields.misses = 0
    return server.http1.request_cache.fields.parse(data) is not None


@shapes
def test_requests_that_differ_in_line_and_cookie_are_cached_from_the_third_on(
    server: MemoryServer, shape: object
) -> None:
    assert callable(shape)
    for number in range(5):
        assert is_cached(server, shape(number)) == (number > 1)
        assert outcome(server, shape(number)) == alone(shape(number))


@shapes
def test_fields_learned_from_one_shape_serve_all_shapes(
    server: MemoryServer, shape: object
) -> None:
    assert callable(shape)
    for number in range(2):
        server.connect().send(shape(number))
    for other in SHAPES:
        assert is_cached(server, other(7))
        assert outcome(server, other(7)) == alone(other(7))


@shapes
def test_bytes_put_into_a_request_mean_the_same_as_to_the_parser(shape: object) -> None:
    assert callable(shape)
    data = shape(4711)
    with MemoryServer(False) as server:
        teach(server)
        read = 0
        for at in range(len(data) + 1):
            for splice in SPLICES:
                for cut in (0, 1):
                    changed = data[:at] + splice + data[at + cut :]
                    if is_cached(server, changed):
                        assert outcome(server, changed) == alone(changed), changed
                        read += 1
        assert read > 30


@shapes
def test_bytes_left_out_of_a_request_mean_the_same_as_to_the_parser(
    shape: object,
) -> None:
    assert callable(shape)
    data = shape(4711)
    with MemoryServer(False) as server:
        teach(server)
        for at in range(len(data)):
            for size in (1, 2, 4, 8):
                changed = data[:at] + data[at + size :]
                if is_cached(server, changed):
                    assert outcome(server, changed) == alone(changed), changed


@pytest.mark.parametrize(
    "line",
    [b"CONNECT /", b"FOO /", b"get /", b"PRI *", b"OPTIONS *", b"GET http://b/", b"M-SEARCH /"],
)
def test_unusual_request_lines_mean_the_same_as_to_the_parser(
    server: MemoryServer, line: bytes
) -> None:
    teach(server)
    for shape in SHAPES:
        data = shape(1).replace(shape(1).partition(b" HTTP")[0], line)
        assert outcome(server, data) == alone(data)


def test_pieces_of_two_requests_mean_the_same_as_to_the_parser() -> None:
    dice = random.Random(4)
    whole = [shape(number) for shape in SHAPES for number in (1, 22)]
    with MemoryServer(False) as server:
        teach(server)
        for _ in range(20_000):
            one, other = dice.choice(whole), dice.choice(whole)
            changed = one[: dice.randrange(len(one))] + other[dice.randrange(len(other)) :]
            if is_cached(server, changed):
                assert outcome(server, changed) == alone(changed), changed


@pytest.mark.parametrize(
    "data",
    [
        request(b"GET http://b/", *PLAIN),
        request(b"GET /", *PLAIN, b"X_Y: z"),
        request(b"GET /", *PLAIN, b"cookie: a"),
        request(b"GET /", *PLAIN, COOKIE, b"cookie: a"),
        request(b"GET /", *PLAIN, COOKIE, COOKIE),
        request(b"GET /", b"Host: a", b"Connection: close"),
        request(b"GET /", b"Host: a", b"X-Forwarded-For: 1.2.3.4"),
        request(b"GET /", b"Host: a", b"Connection: upgrade", b"Upgrade: x"),
        request(b"POST /", b"Host: a", b"Content-Length: 1") + b"a",
        request(b"POST /", b"Host: a", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        request(b"GET /", b"Host: a", b"X: " + b"x" * 3000),
        request(b"GET /", b"Connection: keep-alive").replace(b"1.1", b"1.0"),
        b"\r\n" + bare(1),
        bare(1) + bare(2),
        bare(1)[:-1],
    ],
)
def test_unusual_requests_are_not_cached(server: MemoryServer, data: bytes) -> None:
    for _ in range(3):
        server.connect().send(data)
    assert not server.http1.request_cache.fields


@pytest.mark.parametrize("limits", [Limits(line=50), Limits(header_size=50), Limits(keepalive=0)])
def test_limits_hold_for_cached_fields(limits: Limits) -> None:
    with MemoryServer(False, limits) as server:
        for number in range(4):
            server.connect().send(bare(number))
        server.take_seen()
        client = server.connect().send(bare(10**30))
        assert client.statuses == [200] or client.closed
        assert not any(
            isinstance(head, CachedFieldsHead) for head in server.http1.head_cache.values()
        )


def test_the_cookie_counts_for_the_limit_of_fields() -> None:
    for most in (3, 4):
        with MemoryServer(False, Limits(headers=most)) as server:
            for number in range(3):
                server.connect().send(bare(number))
            assert server.connect().send(last(1)).statuses == [200 if most == 4 else 431]


def test_the_cache_is_bounded(server: MemoryServer) -> None:
    for number in range(3 * MAX_CACHED_FIELDS):
        data = request(b"GET /", b"Host: a", b"X: %d" % number)
        server.connect().send(data, data)
        assert len(server.http1.request_cache.fields) <= MAX_CACHED_FIELDS
    client = server.connect()
    for number in range(2 * field_cache._MAX_SEEN):
        client.send(request(b"GET /", b"Host: a", b"Y: %d" % number))
        assert len(server.http1.request_cache.fields._seen) <= field_cache._MAX_SEEN


def test_the_cache_pauses_when_nothing_recurs(server: MemoryServer) -> None:
    teach(server)
    known = server.http1.request_cache.fields
    for number in range(field_cache._MAX_MISSES):
        assert known.parse(bare(0)) is not None
        known.misses = number
        known.parse(request(b"GET /", b"X: %d" % number))
    assert known.parse(bare(0)) is None
    known.misses = field_cache._PAUSE
    assert known.parse(bare(0)) is None
    assert known.parse(bare(0)) is not None
