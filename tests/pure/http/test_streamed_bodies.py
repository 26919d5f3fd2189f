"""Bodies of requests as a streaming app reads them: flow control, 100 Continue, broken bodies."""

import asyncio
from contextlib import suppress

import pytest

from prefork.http.body import MAX_BUFFERED
from prefork.http.limits import Limits
from tests.fuzz.memory import MemoryServer
from tests.pure.http.asgi_server import (
    AsgiServer,
    Event,
    Gate,
    Receive,
    Send,
    body,
    read_response,
    read_responses,
    request,
    sending,
    serving,
    start,
)


def post(length: int, *fields: bytes) -> bytes:
    return request(b"/", b"Content-Length: %d" % length, *fields, method=b"POST")


CHUNKED = request(b"/", b"Transfer-Encoding: chunked", method=b"POST")
EXPECT = b"Expect: 100-continue"


class Reader:
    """An app that reads its request and answers with its size. ``gate`` holds it before that."""

    def __init__(self, gate: Gate | None = None, *before: Event) -> None:
        self._gate = gate
        self._before = before
        self.events: list[Event] = []

    async def __call__(self, _scope: Event, receive: Receive, send: Send) -> None:
        for event in self._before:
            await send(event)
        if self._gate is not None:
            await self._gate.wait()
        while not self.events or self.events[-1].get("more_body"):
            self.events.append(await receive())
        if not self._before:
            await send(start())
        await send(body(b"%d" % sum(len(event.get("body", b"")) for event in self.events)))


def test_the_app_gets_a_body_as_it_arrives() -> None:
    reader = Reader()
    with serving(reader, post(6) + b"ab", b"cd", b"ef") as client:
        assert [event["body"] for event in reader.events] == [b"ab", b"cd", b"ef"]
        assert [event["more_body"] for event in reader.events] == [True, True, False]
        assert read_response(client).body == b"6"
        assert not client.closed


@pytest.mark.parametrize("streams", [False, True])
def test_a_small_body_that_comes_with_its_head_again_and_again_is_the_same(streams: bool) -> None:
    with MemoryServer(streams) as server:
        for number in range(4):
            server.recorder.later = None if streams else []
            client = server.connect().send(post(5) + b"%05d" % (number // 2))
            for exchange in server.recorder.later or ():
                assert exchange.body is not None
                assert exchange.body.size == 5  # type: ignore[union-attr]
                server.recorder.answer(exchange)
            assert client.statuses == [200]
        assert [seen.body for seen in server.take_seen()] == [b"00000"] * 2 + [b"00001"] * 2


def test_an_app_reads_a_body_that_came_with_its_head_at_once() -> None:
    for _ in range(3):
        reader = Reader()
        with AsgiServer(reader) as server:
            for _ in range(3):
                client = server.connect().send(post(5) + b"hello")
                assert read_response(client).status == 200
                assert reader.events.pop()["body"] == b"hello"


def test_a_chunked_body_is_its_content() -> None:
    reader = Reader()
    data = CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n"
    with serving(reader, data) as client:
        assert b"".join(event["body"] for event in reader.events) == b"abcde"
        assert read_response(client).body == b"5"
        assert not client.closed


def test_reading_stops_while_the_app_lags_behind() -> None:
    gate = Gate()
    with AsgiServer(Reader(gate)) as server:
        size = MAX_BUFFERED + 1
        client = server.connect().send(post(size + 5), b"x" * size)
        assert client.transport.is_paused
        gate.open(server)
        assert not client.transport.is_paused
        assert read_response(client.send(b"12345")).body == b"%d" % (size + 5)


def test_the_client_is_not_late_while_the_server_does_not_read() -> None:
    gate = Gate()
    with AsgiServer(Reader(gate), Limits(body_timeout=5, request=None)) as server:
        client = server.connect().send(post(MAX_BUFFERED + 2), b"x" * (MAX_BUFFERED + 1))
        server.pass_time(20)
        assert client.statuses == []
        gate.open(server)
        server.pass_time(12)
        assert client.statuses == [408]


# 100 Continue (RFC 9110 section 10.1.1).


def test_100_continue_is_sent_when_the_app_reads() -> None:
    gate = Gate()
    with AsgiServer(Reader(gate)) as server:
        client = server.connect().send(post(5, EXPECT))
        assert client.out == b""
        gate.open(server)
        assert client.out == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert [each.status for each in read_responses(client.send(b"hello"))] == [100, 200]


def test_100_continue_is_sent_once() -> None:
    async def app(_scope: Event, receive: Receive, _send: Send) -> None:
        for _ in range(3):
            with suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await receive()
        await receive()

    with serving(app, post(5, EXPECT)) as client:
        assert client.statuses == [100]


@pytest.mark.parametrize("data", [post(5, EXPECT) + b"h", post(5)], ids=["sent", "not asked"])
def test_100_continue_is_not_sent_when_it_is_of_no_use(data: bytes) -> None:
    with serving(Reader(), data) as client:
        assert client.out == b""


def test_http_1_0_gets_no_100_continue() -> None:
    data = request(b"/", b"Content-Length: 5", EXPECT, method=b"POST", version=b"1.0")
    with serving(Reader(), data) as client:
        assert client.out == b""
        assert read_response(client.send(b"hello")).status == 200


def test_a_spooled_body_gets_its_100_continue_when_its_turn_comes() -> None:
    with MemoryServer(False) as server:
        server.recorder.later = []
        client = server.connect().send(request() + post(5, EXPECT))
        assert client.statuses == []
        server.recorder.answer(server.recorder.later.pop())
        server.settle()
        assert client.statuses == [200, 100]
        client.send(b"hello")
        server.recorder.answer(server.recorder.later.pop())
        assert client.statuses == [200, 100, 200]


def test_a_connection_ends_with_a_response_to_a_request_that_was_not_read() -> None:
    """The client may not send the body that it announced, so the next request has no beginning."""
    with serving(sending(start(), body(b"no")), post(5, EXPECT)) as client:
        assert read_response(client).closes
        assert client.statuses == [200]
        assert client.closed


def test_bytes_of_a_body_that_was_answered_already_are_discarded() -> None:
    with serving(sending(start(), body(b"no")), post(5) + b"he", b"llo" + request()) as client:
        assert client.statuses == [200]
        assert client.closed


# Broken bodies.


def test_a_client_that_leaves_within_its_body_is_a_disconnect() -> None:
    reader = Reader()
    with serving(reader, post(5) + b"he") as client:
        client.leave()
        assert reader.events[-1] == {"type": "http.disconnect"}


BROKEN = {
    "chunk": (CHUNKED + b"2\r\nhe\r\n", b"nonsense\r\n", 400),
    "limit": (CHUNKED + b"2\r\nhe\r\n", b"9\r\n123456789\r\n", 413),
    "trailers": (CHUNKED + b"2\r\nhe\r\n0\r\n", b"X-A: b\r\n" * 101 + b"\r\n", 431),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_body_that_turns_out_wrong_is_refused_and_the_app_hears_of_it(name: str) -> None:
    head, rest, status = BROKEN[name]
    reader = Reader()
    with serving(reader, head, rest, limits=Limits(body=10)) as client:
        assert reader.events[-1] == {"type": "http.disconnect"}
        assert client.statuses == [status]
        assert client.closed


@pytest.mark.parametrize("name", BROKEN)
def test_a_response_that_has_begun_is_cut_off_when_the_body_turns_out_wrong(name: str) -> None:
    head, rest, _ = BROKEN[name]
    reader = Reader(None, start(), body(b"first", more=True))
    with serving(reader, head, rest, limits=Limits(body=10)) as client:
        assert client.statuses == [200]
        assert client.was_reset


def test_a_body_that_waits_behind_a_request_is_refused_in_its_turn() -> None:
    gate = Gate()

    async def app(_scope: Event, _receive: Receive, send: Send) -> None:
        await gate.wait()
        await send(start())
        await send(body())

    with AsgiServer(app) as server:
        client = server.connect().send(request() + CHUNKED + b"nonsense\r\n")
        assert client.statuses == []
        gate.open(server)
        assert client.statuses == [200, 400]
        assert client.closed
