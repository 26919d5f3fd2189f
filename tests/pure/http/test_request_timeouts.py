"""Deadlines of requests: an app that does not answer, and what the tick tells about the others."""

import asyncio
from contextlib import suppress

from prefork.http.exchange import Exchange
from prefork.http.limits import Limits
from tests.fuzz.memory import MemoryServer, Recorder
from tests.pure.http.asgi_server import (
    AsgiServer,
    Event,
    Receive,
    Send,
    body,
    read_response,
    read_responses,
    request,
    start,
)

POST = request(b"/", b"Content-Length: 5", method=b"POST")
LIMITS = Limits(request=10)


async def never(_scope: Event, _receive: Receive, _send: Send) -> None:
    """Wait for what never comes, as an app may."""
    await asyncio.Event().wait()


def test_an_app_that_does_not_answer_in_time_is_cancelled() -> None:
    with AsgiServer(never, LIMITS) as server:
        client = server.connect().send(request())
        server.pass_time(9)
        assert client.statuses == []
        server.pass_time(2)
        assert read_response(client).status == 500
        assert not client.closed
        assert not server.handler.running


def test_an_app_that_ignores_its_cancellation_may_still_answer() -> None:
    async def app(_scope: Event, receive: Receive, send: Send) -> None:
        with suppress(asyncio.CancelledError):
            await never(_scope, receive, send)
        await send(start())
        await send(body(b"late"))

    with AsgiServer(app, LIMITS) as server:
        client = server.connect().send(request())
        server.pass_time(11)
        assert read_response(client).body == b"late"


def test_the_call_of_an_app_that_ignores_its_cancellation_is_watched() -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        with suppress(asyncio.CancelledError):
            await never(scope, receive, send)
        await never(scope, receive, send)

    with AsgiServer(app, LIMITS) as server:
        server.connect().send(request())
        server.pass_time(5)
        counters = server.state.counters
        assert counters.oldest_app_call_at == server.loop.time()
        server.pass_time(10)
        # From the cancellation on, which came after 10 seconds.
        assert 4 <= server.loop.time() - counters.oldest_app_call_at <= 6


def test_a_stream_has_no_deadline() -> None:
    async def app(_scope: Event, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"first", more=True))
        await asyncio.Event().wait()

    with AsgiServer(app, LIMITS) as server:
        client = server.connect().send(request())
        server.pass_time(60)
        assert client.statuses == [200]
        assert not client.closed


def test_the_time_of_the_client_is_not_that_of_the_app() -> None:
    async def app(_scope: Event, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        await send(start())
        await send(body(b"done"))

    with AsgiServer(app, LIMITS) as server:
        client = server.connect().send(POST)
        for _ in range(4):
            client.send(b"x")
            server.pass_time(8)
        assert read_response(client.send(b"x")).body == b"done"


def test_without_a_timeout_an_app_may_take_any_time() -> None:
    with AsgiServer(never, Limits(request=None)) as server:
        client = server.connect().send(request())
        server.pass_time(100)
        assert client.statuses == []


def test_calls_that_cannot_be_cancelled_are_watched_from_their_beginning() -> None:
    with MemoryServer(False, LIMITS) as server:
        server.recorder.later = []
        server.pass_time(1)
        server.connect().send(request())
        began_at = server.loop.time()
        server.pass_time(5)
        assert server.state.counters.oldest_app_call_at == began_at
        server.pass_time(7)
        assert server.recorder.overdue_ones == server.recorder.later
        assert server.state.counters.oldest_app_call_at == began_at


class Impatient(Recorder):
    """A handler that answers late requests itself, as that of WSGI does."""

    def time_out(self, exchange: Exchange) -> None:
        exchange.fail()


def test_a_handler_may_answer_a_request_whose_app_is_late() -> None:
    with MemoryServer(False, LIMITS) as server:
        handler = server.state.handler = Impatient(False, server.loop)
        handler.later = []
        server.state.handle = handler.handle
        client = server.connect().send(request())
        server.pass_time(11)
        assert client.statuses == [500]
        assert server.state.counters.oldest_app_call_at == server.loop.time()


def test_requests_are_counted_and_logged_with_their_statuses() -> None:
    logged: list[tuple[int, bytes | None]] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        if scope["path"] == "/never":
            await never(scope, receive, send)
        await send(start(404, (b"x-one", b"1")))
        await send(body(b"hello"))

    with AsgiServer(app) as server:
        server.state.log_access = lambda exchange: logged.append(
            (exchange.status, exchange.response_field(b"x-one"))
        )
        client = server.connect().send(request())
        server.connect().send(request(b"/never")).leave()
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert logged == [(404, b"1"), (0, None), (400, None)]
        assert sum(map(len, server.state.counters.response_times.values())) == 3
        assert server.state.load.requests_in_flight == 0
        assert [each.status for each in read_responses(client, b"GET", b"GET")] == [404, 400]
