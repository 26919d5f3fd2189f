"""Limits on requests: their values, and that a request part without an end is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import Server
from tests.live.process_memory import PeakMemory
from tests.live.raw_client import Answer, RawConnection, ask, chunked, get, tcp
from tests.live.web_apps import serving_app

MUCH = 16 * 2**20
"""More bytes than any limit, and than the kernel keeps for a server that does not read."""

CHUNKED = "Transfer-Encoding: chunked"
UPLOAD = get("/size", CHUNKED, method="POST")


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def server(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Server]:
    with serving_app(request.param, tmp_path_factory.mktemp("limits")) as server:
        yield server


def pour(wire: RawConnection, start: bytes, block: bytes) -> Answer:
    """Send ``block`` after ``block`` until the server answers; return its answer."""
    wire.send(start)
    for _ in range(MUCH // len(block)):
        if wire.is_readable(within=0):
            return wire.answer()
        wire.send(block)
    raise AssertionError(f"the server takes {MUCH} bytes of {block[:20]!r} and reads on")


FRAMING = (400, 431)
"""The RFCs have no status for too much framing."""

ENDLESS = {
    "target": (b"GET /", b"a" * 65536, (414,)),
    "query": (b"GET /?", b"a" * 65536, (414,)),
    "field": (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"a" * 65536, (431,)),
    "field-name": (b"GET / HTTP/1.1\r\nHost: a\r\nX", b"a" * 65536, (431,)),
    "fields": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: a\r\n" * 10_000, (431,)),
    "chunk-extension": (UPLOAD + b"5;", b"a" * 65536, FRAMING),
    "chunk-size": (UPLOAD, b"0" * 65536, FRAMING),
    "trailer": (UPLOAD + b"0\r\nX: ", b"a" * 65536, FRAMING),
    "trailers": (UPLOAD + b"0\r\n", b"X: a\r\n" * 10_000, FRAMING),
    "empty-lines": (b"", b"\r\n" * 30_000, FRAMING),
}


@pytest.mark.parametrize("part", list(ENDLESS))
def test_a_request_part_without_an_end_is_refused_and_costs_no_memory(
    server: Server, part: str
) -> None:
    start, block, statuses = ENDLESS[part]
    (worker,) = server.workers()
    peak = PeakMemory(worker.pid)
    with tcp(server) as wire:
        answer = pour(wire, start, block)
        assert answer.status in statuses
        assert answer.closes
    assert peak.grown() < 8 * 2**20
    assert ask(server, get("/hello")).body == b"hello"


def test_the_longest_target_is_8192_bytes(server: Server) -> None:
    target = "/told/" + "a" * 8186
    assert ask(server, get(target)).body == b"a" * 8186
    assert ask(server, get(target + "a")).status == 414


def test_the_most_fields_are_100(server: Server) -> None:
    fields = [f"X-{number}: a" for number in range(99)]
    assert ask(server, get("/hello", *fields)).status == 200
    assert ask(server, get("/hello", *fields, "X-99: a")).status == 431


def test_the_largest_head_is_32_kilobytes(server: Server) -> None:
    # "Host: test" and "X: …", each with a line end.
    value = "a" * (32768 - len("Host: test\r\nX: \r\n"))
    assert ask(server, get("/hello", f"X: {value}")).status == 200
    assert ask(server, get("/hello", f"X: {value}a")).status == 431


def test_limits_hold_for_each_request_of_a_connection(server: Server) -> None:
    large = "X: " + "a" * 20_000
    with tcp(server) as wire:
        wire.send(*[get("/hello", large)] * 10)
        assert [wire.answer().status for _ in range(10)] == [200] * 10
        assert wire.send(get("/told/" + "a" * 8187)).answer().status == 414


def test_a_body_has_no_limit_by_default(server: Server) -> None:
    pieces = [b"a" * 60_000] * 100
    assert ask(server, UPLOAD + chunked(*pieces)).body == b"6000000"


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_body_over_the_limit_is_refused_while_it_comes(kind: str, tmp_path: Path) -> None:
    with serving_app(kind, tmp_path, "--limit-body", "1m") as server, tcp(server) as wire:
        answer = pour(wire, UPLOAD, b"10000\r\n" + b"a" * 65536 + b"\r\n")
        assert (answer.status, answer.closes) == (413, True)
        assert wire.ends_cleanly()
