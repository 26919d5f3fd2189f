"""The client's view of an app that fails, breaks its protocol, or sends what HTTP forbids."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import h11
import pytest

from prefork.http.response_head import STATUS_LINES, ResponseError
from tests.fuzz.memory import MemoryServer
from tests.pure.http.asgi_server import (
    App,
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


def failing(*events: Event) -> App:
    """Return an app that raises after these events."""

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await sending(*events)(scope, receive, send)
        raise LookupError("a bug of the app")

    return app


@pytest.mark.parametrize("ends", [failing, sending], ids=["raises", "returns"])
@pytest.mark.parametrize("events", [(), (start(),)], ids=["nothing", "start"])
def test_an_app_that_ends_before_its_response_gets_a_500(
    ends: Callable[..., App], events: tuple[Event, ...]
) -> None:
    with serving(ends(*events), request() * 2) as client:
        first, second = read_responses(client, b"GET", b"GET")
        assert (first.status, first.body) == (500, b"500 Internal Server Error\n")
        assert first == second
        assert not client.closed


@pytest.mark.parametrize("ends", [failing, sending], ids=["raises", "returns"])
def test_a_response_that_an_app_leaves_unfinished_is_cut_off(ends: Callable[..., App]) -> None:
    with serving(ends(start(), body(b"hel", more=True)), request() * 2) as client:
        assert client.was_reset
        with pytest.raises(h11.RemoteProtocolError):
            read_response(client)
        assert client.statuses == [200]


def test_an_error_after_the_response_does_not_change_it() -> None:
    with serving(failing(start(), body(b"hello"))) as client:
        assert read_response(client).body == b"hello"
        assert not client.closed


def test_a_status_line_without_a_known_reason_has_an_empty_one() -> None:
    with serving(sending(start(299), body())) as client:
        assert client.out.startswith(b"HTTP/1.1 299 \r\n")


@pytest.mark.parametrize(
    "events",
    [
        (start(199), body()),
        (start(600), body()),
        (start(200, (b"x", b"a\r\nset-cookie: b")), body()),
        (start(200, (b"x", b"a\nb")), body()),
        (start(200, (b"x", b"\0")), body()),
        (start(200, (b"x y", b"a")), body()),
        (start(200, (b"", b"a")), body()),
        (start(200, ("x", "a")), body()),  # type: ignore[arg-type]
        (start(200, (b"x",)), body()),  # type: ignore[arg-type]
        (start(), start(), body()),
        (body(),),
        (start(), {"type": "http.response.body", "body": "text"}),
        (start(), {"type": "http.response.unheard_of"}),
        (start(), {"type": "http.response.trailers", "headers": ()}),
    ],
)
def test_what_http_or_the_interface_forbids_is_a_500(events: tuple[Event, ...]) -> None:
    with serving(sending(*events)) as client:
        assert read_response(client).status == 500
        assert b"cookie" not in client.out


def test_fields_of_the_connection_are_the_servers() -> None:
    """RFC 9110 section 7.6.1."""
    ours = ((b"transfer-encoding", b"gzip"), (b"keep-alive", b"timeout=5"), (b"upgrade", b"h2c"))
    with serving(sending(start(200, (b"connection", b"x"), *ours), body(b"hello"))) as client:
        assert read_response(client).fields == {b"content-length": b"5"}
        assert not client.closed


def test_an_app_may_close_the_connection() -> None:
    with serving(sending(start(200, (b"connection", b"close")), body()), request() * 2) as client:
        assert read_response(client).closes
        assert client.statuses == [200]
        assert client.closed


def test_a_field_may_be_a_list_and_its_name_in_capitals() -> None:
    begin = {"type": "http.response.start", "status": 200, "headers": [[b"X-A", b"b"]] * 2}
    with serving(sending(begin, body())) as client:
        assert b"\r\nx-a: b\r\nx-a: b\r\n" in client.out


@pytest.mark.parametrize("length", [1, 1000])
def test_fields_that_never_repeat_are_sent_as_they_are(length: int) -> None:
    async def app(scope: Event, _receive: Receive, send: Send) -> None:
        await send(start(200, (b"x-number", scope["raw_path"][1:] * length)))
        await send(body())

    with AsgiServer(app) as server:
        client = server.connect()
        for number in range(1100 if length == 1 else 3):
            client.send(request(b"/%d" % number))
            value = b"%d" % number * length
            assert client.out.endswith(b"x-number: %b\r\nContent-Length: 0\r\n\r\n" % value)


# A client that leaves.


def test_an_app_hears_of_a_client_that_leaves_and_can_send_no_more() -> None:
    heard: list[Event] = []

    async def app(_scope: Event, receive: Receive, send: Send) -> None:
        for _ in range(2):
            heard.append(await receive())
        for event in (start(), body(b"hello", more=True)):
            with suppress(OSError):
                await send(event)
                heard.append(event)

    with serving(app) as client:
        assert len(heard) == 1
        client.leave()
        assert heard[1:] == [{"type": "http.disconnect"}, start()]
        assert client.out == b""


def test_a_response_of_a_spooled_app_cannot_end_when_its_client_left() -> None:
    with MemoryServer(False) as server:
        server.recorder.later = []
        client = server.connect().send(request())
        (exchange,) = server.recorder.later
        exchange.start_response(200, STATUS_LINES[200], (), 5)
        client.leave()
        with pytest.raises(ConnectionResetError):
            exchange.finish(b"hello")


@pytest.mark.parametrize("pair", [(1, 2), ("x", None), ("x", "\u20ac"), ("x", "y", "z")])
def test_a_field_that_is_no_pair_of_strings_is_an_error(pair: Any) -> None:
    with MemoryServer(False) as server:
        server.recorder.later = []
        server.connect().send(request())
        with pytest.raises(ResponseError, match="a header must be a pair"):
            server.recorder.answer(server.recorder.later[0], [pair])


def test_sending_more_to_a_client_that_just_left_is_an_os_error() -> None:
    """An app that never waits for anything else would send for ever."""
    errors: list[Exception] = []
    gone = Gate()

    async def app(_scope: Event, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"", more=True))
        await gone.wait()
        for _ in range(2):
            try:
                await send(body(b"x", more=True))
            except OSError as error:
                errors.append(error)

    with AsgiServer(app) as server:
        client = server.connect().send(request())
        client.transport.closing = True  # the loop has not told the connection yet
        gone.open(server)
        assert len(errors) == 2
