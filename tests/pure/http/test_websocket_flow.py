"""The life of a WebSocket: closing, pings, slow clients, a worker that drains."""

import asyncio
from collections.abc import Iterator

import pytest

from prefork.http.limits import Limits, WebSocketLimits
from prefork.http.tick import TICK_PERIOD
from prefork.http.websocket.websocket import HIGH_WATER
from tests.live.websocket_client import BINARY, CLOSE, PING, PONG, TEXT, Frame, close_frame
from tests.pure.http.asgi_server import AsgiServer, Event, Gate, Receive, Send, anonymous_tls
from tests.pure.http.memory_websocket import (
    Echo,
    MemoryWebSocket,
    calling,
    open_websocket,
    websocket,
    websocket_limits,
)

HELLO = Frame(TEXT, b"Hello")
ACCEPT = {"type": "websocket.accept"}
CLOSING = {"type": "websocket.close"}


# Closing.


@pytest.mark.parametrize(
    ("code", "reason"), [(None, b""), (1000, b""), (1001, b"bye"), (3000, "ade, κόσμε".encode())]
)
def test_a_close_is_answered_with_itself(code: int | None, reason: bytes) -> None:
    echo = Echo()
    with websocket(echo) as (wire, server):
        assert wire.send(HELLO).read() == [HELLO]
        assert wire.send(close_frame(code, reason)).read() == [close_frame(code, reason)]
        assert wire.is_ended
        assert echo.disconnect == (1005 if code is None else code, reason.decode())
        assert not server.state.connections


def test_a_close_in_the_middle_of_a_message_is_answered() -> None:
    with websocket(Echo()) as (wire, _):
        wire.send(Frame(TEXT, b"begun", fin=False), close_frame(1000), HELLO)
        assert wire.read_close() == (1000, b"")


def test_an_app_closes_with_code_and_reason_and_the_client_answers() -> None:
    with websocket(calling(ACCEPT, {**CLOSING, "code": 4000, "reason": "done"})) as (wire, server):
        assert wire.read_close() == (4000, b"done")
        assert not wire.client.transport.closing
        wire.send(HELLO, close_frame(4000))
        assert wire.read() == []
        assert wire.is_ended
        assert not server.state.connections


def test_messages_after_the_apps_close_do_not_reach_it() -> None:
    events: list[Event] = []

    async def app(_scope: Event, receive: Receive, send: Send) -> None:
        for event in (ACCEPT, CLOSING):
            await send(event)
        for _ in range(2):
            events.append(await receive())

    with websocket(app) as (wire, _):
        assert wire.send(HELLO).read_close() == (1000, b"")
        wire.send(HELLO)
        assert [event["type"] for event in events] == ["websocket.connect", "websocket.disconnect"]


@pytest.mark.parametrize("ends", ["leave", "finish"])
def test_a_client_that_leaves_without_a_close_is_1006_to_the_app(ends: str) -> None:
    echo = Echo()
    with websocket(echo) as (wire, server):
        getattr(wire.client, ends)()
        assert echo.disconnect == (1006, "")
        assert not server.state.connections
        assert server.state.load.word == 0


@pytest.mark.parametrize("message", [{"text": "late"}, {"bytes": b"late"}])
def test_sending_after_the_client_left_is_an_os_error(message: Event) -> None:
    errors: list[Exception] = []

    async def app(_scope: Event, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        for _ in range(2):
            await receive()
        try:
            await send({"type": "websocket.send", **message})
        except OSError as error:
            errors.append(error)

    with websocket(app) as (wire, _):
        wire.client.leave()
        assert len(errors) == 1


def test_an_app_that_returns_or_fails_closes_with_1011() -> None:
    async def returning(_scope: Event, _receive: Receive, send: Send) -> None:
        await send(ACCEPT)

    async def failing(_scope: Event, _receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        raise LookupError("a bug of the app")

    for app in (returning, failing):
        with websocket(app) as (wire, _):
            assert wire.read_close() == (1011, b"")


def test_a_client_that_does_not_answer_a_close_is_cut_off() -> None:
    with websocket(calling(ACCEPT, CLOSING), limits=websocket_limits(close_timeout=5)) as (
        wire,
        server,
    ):
        server.pass_time(4)
        assert not wire.client.transport.closing
        server.pass_time(2)
        assert wire.client.was_reset


def test_tls_is_not_waited_for_once_both_closes_are_delivered() -> None:
    """Few clients answer a close_notify."""
    with AsgiServer(Echo()) as server:
        wire = open_websocket(server, tls=anonymous_tls(), swallows=1000)
        wire.send(Frame(BINARY, b"x" * 1000)).send(close_frame(1000))
        assert [frame.opcode for frame in wire.read()] == [BINARY, CLOSE]
        server.pass_time(TICK_PERIOD)
        assert len(server.state.connections) == 1
        wire.client.catch_up()
        server.pass_time(TICK_PERIOD)
        assert not server.state.connections


def test_a_client_that_does_not_read_the_close_is_cut_off() -> None:
    with AsgiServer(Echo()) as server:
        wire = open_websocket(server, tls=anonymous_tls(), swallows=1000)
        wire.send(Frame(BINARY, b"x" * 1000)).send(close_frame(1000))
        server.pass_time(6)
        assert not server.state.connections


def test_a_failed_tls_connection_is_closed_at_once() -> None:
    with AsgiServer(Echo()) as server:
        wire = open_websocket(server, tls=anonymous_tls()).send(Frame(3))
        assert wire.read_close()[0] == 1002
        assert wire.client.transport.closing


# Pings.

PINGING = WebSocketLimits(ping_interval=20, ping_timeout=10)


@pytest.fixture
def pinging() -> Iterator[tuple[MemoryWebSocket, AsgiServer]]:
    with websocket(Echo(), limits=Limits(websocket=PINGING)) as pair:
        yield pair


def test_a_client_is_pinged_at_its_interval(pinging: tuple[MemoryWebSocket, AsgiServer]) -> None:
    wire, server = pinging
    for _ in range(5):
        server.pass_time(19)
        assert wire.read() == []
        server.pass_time(1)
        assert wire.read() == [Frame(PING)]
        wire.send(Frame(PONG))


def test_a_silent_client_is_closed_with_1011(pinging: tuple[MemoryWebSocket, AsgiServer]) -> None:
    wire, server = pinging
    server.pass_time(29)
    assert wire.read() == [Frame(PING)]
    server.pass_time(2)
    assert wire.read_close()[0] == 1011


def test_any_byte_is_a_sign_of_life(pinging: tuple[MemoryWebSocket, AsgiServer]) -> None:
    wire, server = pinging
    data = Frame(BINARY, b"x" * 1000).encode()
    for at in range(10):
        server.pass_time(9)
        wire.client.send(data[at : at + 1])
    assert {frame.opcode for frame in wire.read()} == {PING}
    assert not wire.client.closed


def test_without_a_ping_timeout_a_silent_client_stays() -> None:
    limits = websocket_limits(ping_interval=20, ping_timeout=None)
    with websocket(Echo(), limits=limits) as (wire, server):
        server.pass_time(110)
        assert wire.read() == [Frame(PING)] * 5


def test_a_client_may_be_pinged_again_before_its_time_is_over() -> None:
    limits = websocket_limits(ping_interval=5, ping_timeout=12)
    with websocket(Echo(), limits=limits) as (wire, server):
        server.pass_time(16)
        assert wire.read() == [Frame(PING)] * 3
        server.pass_time(1)
        assert wire.read_close()[0] == 1011


def test_a_ping_that_a_client_does_not_read_does_not_count_against_it() -> None:
    limits = Limits(send_timeout=60, websocket=WebSocketLimits(ping_interval=5, ping_timeout=2))
    with AsgiServer(Echo(), limits) as server:
        head = len(open_websocket(server).client.transport.out)
        wire = open_websocket(server, swallows=head)
        server.pass_time(20)
        assert wire.read() == [Frame(PING)]
        assert wire.client.catch_up().closed is False


def test_without_an_interval_nothing_is_sent() -> None:
    with websocket(Echo(), limits=websocket_limits(ping_interval=None)) as (wire, server):
        server.pass_time(500)
        assert wire.read() == []
        assert wire.send(HELLO).read() == [HELLO]


# An app that does not take its messages.


def lagging(gate: Gate, taken: list[int]) -> object:
    """Return an app that accepts, waits at the gate, and then takes all messages."""

    async def app(_scope: Event, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await gate.wait()
        await receive()
        while (event := await receive())["type"] == "websocket.receive":
            taken.append(len(event["bytes"]))

    return app


@pytest.mark.parametrize(("size", "number"), [(0, 1000), (10, 1000), (HIGH_WATER // 4, 20)])
def test_reading_stops_while_the_app_lags_behind(size: int, number: int) -> None:
    gate, taken = Gate(), []
    limits = Limits(websocket=WebSocketLimits(ping_interval=20, ping_timeout=10, max_queue=50))
    with websocket(lagging(gate, taken), limits=limits) as (wire, server):  # type: ignore[arg-type]
        wire.send(*[Frame(BINARY, b"x" * size)] * number)
        assert wire.client.transport.is_paused
        # While nothing is read, silence proves nothing: the client is not closed.
        server.pass_time(100)
        assert not wire.client.closed
        gate.open(server)
        assert taken == [size] * number
        assert not wire.client.transport.is_paused


def test_a_close_behind_messages_that_wait_is_read_after_them() -> None:
    gate, taken = Gate(), []
    with websocket(lagging(gate, taken)) as (wire, server):  # type: ignore[arg-type]
        wire.send(*[Frame(BINARY, b"x")] * 10_000, close_frame(1000))
        assert wire.read() == []
        gate.open(server)
        assert len(taken) == 10_000
        assert wire.read_close() == (1000, b"")


# A client that does not read.


class Pusher:
    """An app that sends messages without an end, or so many, and counts them."""

    def __init__(self, messages: int = 1_000_000) -> None:
        self._messages = messages
        self.sent = 0
        self.error: Exception | None = None

    async def __call__(self, _scope: Event, _receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        try:
            while self.sent < self._messages:
                await send({"type": "websocket.send", "bytes": b"x" * 1000})
                self.sent += 1
            await send(CLOSING)
        except OSError as error:
            self.error = error


SLOW = Limits(send_timeout=8, websocket=WebSocketLimits(ping_interval=5, ping_timeout=2))


def test_an_app_waits_for_a_client_that_does_not_read() -> None:
    pusher = Pusher(10)
    with AsgiServer(pusher) as server:
        wire = open_websocket(server, swallows=3000)
        assert pusher.sent < 4
        wire.client.catch_up()
        assert pusher.sent == 10
        assert [frame.opcode for frame in wire.read()] == [BINARY] * 10 + [CLOSE]


def test_a_client_that_takes_nothing_is_cut_off_and_one_that_takes_little_is_not() -> None:
    pusher = Pusher()
    with AsgiServer(pusher, SLOW) as server:
        wire = open_websocket(server, swallows=3000)
        for _ in range(10):
            wire.client.take(1)
            server.pass_time(5)
        assert not wire.client.closed
        server.pass_time(10)
        assert wire.client.was_reset
        assert pusher.error is not None


def test_several_tasks_of_an_app_wait_for_the_same_client() -> None:
    async def app(_scope: Event, _receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        message = {"type": "websocket.send", "bytes": b"x" * 1000}
        for _ in range(2):
            await asyncio.gather(*[send(message) for _ in range(3)])
        await send(CLOSING)

    with AsgiServer(app) as server:
        wire = open_websocket(server, swallows=300)
        wire.client.catch_up()
        assert [frame.opcode for frame in wire.read()] == [BINARY] * 6 + [CLOSE]


def test_a_ping_may_have_waited_behind_what_the_client_did_not_read() -> None:
    with AsgiServer(Pusher(), SLOW) as server:
        wire = open_websocket(server, swallows=3000)
        for _ in range(3):
            wire.client.take(1)
            server.pass_time(4)
        wire.client.transport._swallows = len(wire.client.transport.out) + 5000
        wire.client.catch_up()
        assert not wire.client.closed


def test_an_app_that_waits_for_a_client_hears_that_it_left() -> None:
    pusher = Pusher()
    with AsgiServer(pusher) as server:
        open_websocket(server, swallows=3000).client.leave()
        assert pusher.error is not None


def test_pongs_that_a_client_does_not_read_stop_the_reading_of_its_pings() -> None:
    """A client must not fill the worker's memory with pongs."""
    pings = [Frame(PING, b"x" * 125)] * 5000
    with AsgiServer(Echo(), SLOW) as server:
        wire = open_websocket(server, swallows=5000)
        wire.send(*pings)
        assert wire.client.transport.is_paused
        assert len(wire.client.transport.out) < 50_000
        wire.client.catch_up()
        assert not wire.client.transport.is_paused
        assert wire.read() == [Frame(PONG, b"x" * 125)] * 5000


def test_a_close_of_the_app_still_reaches_a_client_that_reads_slowly() -> None:
    gate = Gate()

    async def app(_scope: Event, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        sending = asyncio.ensure_future(send({"type": "websocket.send", "bytes": b"x" * 5000}))
        await gate.wait()
        await send(CLOSING)
        await sending

    with AsgiServer(app) as server:
        wire = open_websocket(server, swallows=1000)
        gate.open(server)
        wire.client.catch_up()
        assert [frame.opcode for frame in wire.read()] == [BINARY, CLOSE]
        wire.send(close_frame(1000))
        assert wire.is_ended


# A worker that drains.


@pytest.mark.parametrize(("has_no_successor", "code"), [(True, 1001), (False, 1012)])
def test_a_drain_closes_and_waits_for_the_client(has_no_successor: bool, code: int) -> None:
    echo = Echo()
    with websocket(echo, limits=websocket_limits(close_timeout=5)) as (wire, server):
        silent = open_websocket(server)
        server.run(server.state.drain, has_no_successor)
        for each in (wire, silent):
            assert each.read_close() == (code, b"")
        wire.send(close_frame(code))
        assert wire.is_ended
        assert len(server.state.connections) == 1
        server.pass_time(6)
        assert silent.client.was_reset
        assert not server.state.connections


def test_a_drain_leaves_a_websocket_alone_that_is_closing_already() -> None:
    with websocket(calling(ACCEPT, {**CLOSING, "code": 4000})) as (wire, server):
        server.run(server.state.drain, False)
        assert wire.read_close() == (4000, b"")


def test_the_tick_goes_on_while_a_websocket_is_open() -> None:
    with websocket(Echo()) as (_, server):
        server.pass_time(1)
        assert server.state.tickless_seconds() == 0
