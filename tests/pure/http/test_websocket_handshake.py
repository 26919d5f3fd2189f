"""The opening handshake of a WebSocket (RFC 6455 section 4.2), and what comes in its place."""

import asyncio
from typing import Any

import pytest

from prefork.http.http1.trailing_data import MAX_TRAILING_DATA
from prefork.http.limits import Limits
from prefork.http.server_state import RequestHandler
from tests.fuzz.memory import MemoryServer
from tests.live.websocket_client import BINARY, KEY, PING, PONG, TEXT, Frame
from tests.pure.http.asgi_server import (
    AsgiServer,
    Event,
    Gate,
    Receive,
    Send,
    body,
    read_response,
    request,
    sending,
    serving,
    start,
)
from tests.pure.http.memory_websocket import (
    HANDSHAKE_FIELDS,
    HANDSHAKE_REQUEST,
    Echo,
    MemoryWebSocket,
    calling,
    open_websocket,
    websocket,
    websocket_limits,
)

ACCEPT = {"type": "websocket.accept"}
HELLO = Frame(TEXT, b"Hello")


def without(name: bytes, *others: bytes) -> bytes:
    """Return a handshake without a field, with others in its place."""
    fields = [field for field in HANDSHAKE_FIELDS if not field.startswith(name + b":")]
    return request(b"/", *fields, *others)


def test_a_valid_request_is_answered_with_101() -> None:
    with websocket(Echo()) as (wire, _):
        lines = {line.lower() for line in wire.head.split(b"\r\n")}
        assert {b"upgrade: websocket", b"connection: upgrade"} <= lines
        assert not any(line.startswith(b"content-length") for line in lines)
        assert wire.send(HELLO).read() == [HELLO]


@pytest.mark.parametrize(
    "data",
    [
        without(b"Connection", b"Connection: keep-alive, Upgrade"),
        without(b"Upgrade", b"Upgrade: WebSocket"),
        without(b"Upgrade", b"Upgrade: h2c, websocket"),
    ],
)
def test_tokens_may_have_company_and_capitals(data: bytes) -> None:
    with serving(Echo(), data) as client:
        assert MemoryWebSocket(client).send(HELLO).read() == [HELLO]


@pytest.mark.parametrize(
    "data",
    [
        without(b"Sec-WebSocket-Key"),
        without(b"Sec-WebSocket-Key", b"Sec-WebSocket-Key: short"),
        without(b"Sec-WebSocket-Key", *[f"Sec-WebSocket-Key: {KEY}".encode()] * 2),
        without(b"Sec-WebSocket-Version"),
        request(b"/", *HANDSHAKE_FIELDS, b"Sec-WebSocket-Extensions: ="),
        request(b"/", *HANDSHAKE_FIELDS, b"Sec-WebSocket-Protocol: a b"),
    ],
    ids=["no key", "short key", "two keys", "no version", "extensions", "protocols"],
)
def test_an_invalid_handshake_is_a_400_and_never_reaches_the_app(data: bytes) -> None:
    app = Echo()
    with serving(app, data) as client:
        response = read_response(client)
        assert response.status == 400
        assert b"WebSocket" in response.body
        assert app.events == []


@pytest.mark.parametrize("version", [b"12", b"8, 13", b"x"])
def test_another_version_is_a_426_that_names_the_right_one(version: bytes) -> None:
    """RFC 6455 section 4.2.2, and RFC 9110 section 15.5.22: Upgrade is required."""
    data = without(b"Sec-WebSocket-Version", b"Sec-WebSocket-Version: " + version)
    with serving(Echo(), data) as client:
        response = read_response(client)
        assert response.status == 426
        assert response.fields[b"sec-websocket-version"] == b"13"
        assert response.fields[b"upgrade"] == b"websocket"


@pytest.mark.parametrize(
    "data",
    [
        request(b"/", *HANDSHAKE_FIELDS, method=b"POST"),
        request(b"/", *HANDSHAKE_FIELDS, b"Content-Length: 5") + b"hello",
        request(b"/", *HANDSHAKE_FIELDS, version=b"1.0"),
        without(b"Upgrade", b"Upgrade: h2c"),
        without(b"Upgrade"),
        without(b"Connection"),
    ],
    ids=["POST", "body", "1.0", "another protocol", "no Upgrade", "no Connection"],
)
def test_another_request_is_an_ordinary_one(data: bytes) -> None:
    types: list[str] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        types.append(scope["type"])
        await receive()
        await sending(start(), body(b"plain"))(scope, receive, send)

    with serving(app, data) as client:
        assert read_response(client).body == b"plain"
        assert types == ["http"]


def test_an_app_without_websockets_answers_a_handshake_like_any_request() -> None:
    with MemoryServer(False) as server:
        client = server.connect().send(HANDSHAKE_REQUEST, request())
        assert client.statuses == [200, 200]


# Subprotocols and header fields.

OFFERS = (b"Sec-WebSocket-Protocol: chat, v2.chat", b"Sec-WebSocket-Protocol: v3")


def test_the_app_chooses_one_of_the_subprotocols() -> None:
    offered: list[list[str]] = []
    echo = Echo({"subprotocol": "v2.chat"})

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        offered.append(scope["subprotocols"])
        await echo(scope, receive, send)

    with websocket(app, *OFFERS) as (wire, _):
        assert offered == [["chat", "v2.chat", "v3"]]
        assert b"Sec-WebSocket-Protocol: v2.chat" in wire.head.split(b"\r\n")
        assert wire.send(HELLO).read() == [HELLO]


@pytest.mark.parametrize(
    "event",
    [
        {"subprotocol": "v4"},
        {"headers": [(b"sec-websocket-accept", b"x")]},
        {"headers": [(b"Sec-WebSocket-Protocol", b"chat")]},
        {"headers": [(b"x", b"a\r\nb: c")]},
    ],
)
def test_an_accept_that_is_not_allowed_is_a_500(event: Event) -> None:
    with serving(calling({**ACCEPT, **event}), request(b"/", *HANDSHAKE_FIELDS, *OFFERS)) as client:
        assert client.statuses == [500]


def test_fields_of_the_app_are_added_except_those_of_the_server() -> None:
    fields = [[b"X-One", b"1"], (b"set-cookie", b"a=b"), (b"Date", b"then")]
    fields += [(b"content-length", b"5")]
    with websocket(Echo({"headers": fields})) as (wire, _):
        lines = [line.lower() for line in wire.head.split(b"\r\n")]
        assert {b"x-one: 1", b"set-cookie: a=b"} <= set(lines)
        assert not any(line.startswith((b"content-length", b"date: then")) for line in lines)


# Refusals.


def test_an_app_that_closes_instead_of_accepting_refuses_with_403() -> None:
    app = calling({"type": "websocket.close"})
    with serving(app, HANDSHAKE_REQUEST) as client:
        assert read_response(client).status == 403
        assert client.closed


def test_an_app_may_refuse_with_a_response_of_its_own() -> None:
    head: Event = {"type": "websocket.http.response.start", "status": 401, "headers": []}
    pieces: list[Event] = [
        {"type": "websocket.http.response.body", "body": b"log", "more_body": True},
        {"type": "websocket.http.response.body", "body": b" in"},
    ]
    with serving(calling(head, *pieces), HANDSHAKE_REQUEST) as client:
        response = read_response(client)
        assert (response.status, response.body) == (401, b"log in")


@pytest.mark.parametrize(
    "events",
    [
        [],
        [{"type": "websocket.send", "text": "too soon"}],
        [{"type": "websocket.unheard_of"}],
    ],
)
def test_an_app_that_does_not_answer_as_it_must_is_a_500(events: list[Event]) -> None:
    async def app(_scope: Event, _receive: Receive, send: Send) -> None:
        for event in events:
            await send(event)

    with serving(app, HANDSHAKE_REQUEST) as client:
        assert client.statuses == [500]


def test_an_app_that_never_answers_is_a_500_at_its_deadline() -> None:
    async def app(*_: Any) -> None:
        await asyncio.Event().wait()

    with AsgiServer(app, Limits(request=10)) as server:
        client = server.connect().send(HANDSHAKE_REQUEST)
        server.pass_time(11)
        assert client.statuses == [500]


def test_an_app_without_websockets_gets_an_ordinary_request() -> None:
    class PlainServer(AsgiServer):
        def _make_handler(self) -> RequestHandler:
            handler = super()._make_handler()
            self.handler.ignore_upgrades()
            return handler

    scopes: list[Event] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await sending(start(200), body(b"plain"))(scope, receive, send)

    with PlainServer(app) as server:
        assert server.connect().send(HANDSHAKE_REQUEST).statuses == [200]
    assert scopes[0]["type"] == "http"
    assert (b"upgrade", b"websocket") in scopes[0]["headers"]


def test_a_handshake_that_a_client_left_cannot_be_accepted() -> None:
    gate = Gate()
    results: list[object] = []

    async def app(_scope: Event, receive: Receive, send: Send) -> None:
        await receive()
        await gate.wait()
        try:
            await send(ACCEPT)
        except OSError as error:
            results.append(error)
        results.append(await receive())

    for ends in ("leave", "finish"):
        results.clear()
        gate = Gate()
        with AsgiServer(app) as server:
            client = server.connect().send(HANDSHAKE_REQUEST)
            getattr(client, ends)()
            gate.open(server)
            assert isinstance(results[0], OSError)
            assert results[1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
            assert client.out == b""


def test_a_handshake_cannot_be_accepted_while_its_connection_closes() -> None:
    errors: list[Exception] = []
    gate = Gate()

    async def app(_scope: Event, _receive: Receive, send: Send) -> None:
        await gate.wait()
        try:
            await send(ACCEPT)
        except OSError as error:
            errors.append(error)

    with AsgiServer(app) as server:
        client = server.connect().send(HANDSHAKE_REQUEST)
        client.transport.closing = True  # the loop has not told the connection yet
        gate.open(server)
        assert len(errors) == 1
        assert client.out == b""


# Bytes behind the handshake.


def accepting_late(gate: Gate) -> Any:
    echo = Echo()

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await gate.wait()
        await echo(scope, receive, send)

    return app


def test_frames_behind_the_handshake_in_the_same_piece_are_read() -> None:
    with serving(Echo(), HANDSHAKE_REQUEST + HELLO.encode() + Frame(PING).encode()) as client:
        assert MemoryWebSocket(client).read() == [Frame(PONG), HELLO]


@pytest.mark.parametrize("size", [5, 1000, MAX_TRAILING_DATA, 3 * MAX_TRAILING_DATA])
def test_frames_that_arrive_before_the_answer_are_kept(size: int) -> None:
    gate = Gate()
    message = Frame(BINARY, b"x" * size)
    with AsgiServer(accepting_late(gate)) as server:
        data = message.encode()
        pieces = [data[at : at + 10_000] for at in range(0, len(data), 10_000)]
        client = server.connect().send(HANDSHAKE_REQUEST, *pieces)
        assert client.transport.is_paused is (size >= MAX_TRAILING_DATA)
        assert client.out == b""
        gate.open(server)
        assert not client.transport.is_paused
        assert MemoryWebSocket(client).read() == [message]


def test_what_follows_a_handshake_that_is_refused_is_no_request() -> None:
    """A proxy that took the handshake for accepted would let its client speak to the app."""
    gate = Gate()
    calls: list[str] = []

    async def app(scope: Event, _receive: Receive, send: Send) -> None:
        calls.append(scope["path"])
        await gate.wait()
        await send({"type": "websocket.close"})

    with AsgiServer(app) as server:
        client = server.connect().send(HANDSHAKE_REQUEST + request(b"/smuggled"))
        client.send(request(b"/smuggled"))
        gate.open(server)
        assert client.statuses == [403]
        assert calls == ["/"]


def test_requests_before_the_handshake_are_answered_first() -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await Echo()(scope, receive, send)
            return
        await asyncio.sleep(0)
        await sending(start(), body(b"first\r\n"))(scope, receive, send)

    with serving(app, request() + HANDSHAKE_REQUEST + HELLO.encode()) as client:
        assert client.statuses == [200, 101]
        assert client.out.endswith(b"Hello")


# A worker that drains.


@pytest.mark.parametrize(("has_no_successor", "code"), [(True, 1001), (False, 1012)])
def test_a_drain_refuses_pending_handshakes(has_no_successor: bool, code: int) -> None:
    events: list[Event] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await sending(start(), body())(scope, receive, send)
        else:
            events.extend([await receive(), await receive()])

    with AsgiServer(app, Limits(linger=10)) as server:
        early, late = server.connect().send(HANDSHAKE_REQUEST), server.connect().send(request())
        server.run(server.state.drain, has_no_successor)
        for call in list(server.handler.running):
            server.run(call.begin_drain)
        response = read_response(early)
        assert (response.status, response.fields[b"retry-after"]) == (503, b"1")
        assert early.closed
        assert events[-1] == {"type": "websocket.disconnect", "code": code, "reason": ""}
        late.send(HANDSHAKE_REQUEST)
        assert late.statuses == [200, 503]
        assert late.closed


def test_compression_is_agreed_when_both_sides_want_it() -> None:
    offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    with websocket(Echo(), offer) as (wire, _):
        assert (
            b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=12; "
            b"client_max_window_bits=12" in wire.head.split(b"\r\n")
        )
    with websocket(Echo(), offer, limits=websocket_limits(compression=False)) as (wire, _):
        assert b"Extensions" not in wire.head
    with AsgiServer(Echo()) as server:
        assert b"Extensions" not in open_websocket(server).head
