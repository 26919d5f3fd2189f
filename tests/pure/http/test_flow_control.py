"""Writers that wait for a slow client: HTTP and WebSocket treat them alike."""

import asyncio
import struct
import weakref
from collections.abc import Iterator
from typing import cast

import pytest

from prefork.http.http1.connection import Connection
from prefork.http.limits import Limits, WebSocketLimits
from prefork.http.websocket.websocket import ServerFrameProtocol, WebSocket
from tests.fuzz.memory import MemoryServer, MemorySocket, MemoryTransport

SEND_TIMEOUT = 60
SECOND_CHECK = SEND_TIMEOUT / 8 + 1
"""Seconds after which the progress of a client is checked at least once more."""


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    websocket = WebSocketLimits(ping_interval=None, ping_timeout=None)
    with MemoryServer(True, Limits(send_timeout=SEND_TIMEOUT, websocket=websocket)) as server:
        yield server


@pytest.fixture(params=["http", "websocket"])
def protocol(
    request: pytest.FixtureRequest, server: MemoryServer
) -> Iterator[Connection | WebSocket]:
    """Yield an open connection, whose client has read everything so far."""
    if request.param == "http":
        yield server.connect().connection
        return
    websocket = WebSocket(server.state, ServerFrameProtocol())
    transport = MemoryTransport(server.loop, None)
    transport.protocol = websocket
    websocket.connection_made(transport)
    yield websocket
    transport.close()
    server.settle()


def test_a_writer_that_gave_up_is_forgotten(protocol: Connection | WebSocket) -> None:
    """An app that bounds each of its waits must not fill the memory of its worker."""
    protocol.pause_writing()
    given_up: list[weakref.ref[asyncio.Future[None]]] = []
    for _ in range(100):
        waiter = protocol.flow.waiter()
        assert waiter is not None
        waiter.cancel()
        given_up.append(weakref.ref(waiter))
        del waiter
    assert sum(each() is not None for each in given_up) <= 1


def test_all_writers_go_on_when_the_client_has_caught_up(protocol: Connection | WebSocket) -> None:
    assert protocol.flow.waiter() is None
    protocol.pause_writing()
    waiters = [protocol.flow.waiter() for _ in range(3)]
    assert not any(waiter is None or waiter.done() for waiter in waiters)
    protocol.resume_writing()
    assert all(waiter is not None and waiter.done() for waiter in waiters)
    assert protocol.flow.waiter() is None


def test_writers_go_on_when_the_client_is_gone(
    server: MemoryServer, protocol: Connection | WebSocket
) -> None:
    protocol.pause_writing()
    waiter = protocol.flow.waiter()
    protocol.transport.close()
    server.settle()
    assert waiter is not None
    assert waiter.done()
    assert protocol.flow.waiter() is None


def test_a_client_that_takes_nothing_is_reset_after_the_send_timeout(
    server: MemoryServer, protocol: Connection | WebSocket
) -> None:
    protocol.pause_writing()
    server.pass_time(SEND_TIMEOUT - 1)
    assert not protocol.transport.is_closing()
    server.pass_time(2)
    assert protocol.transport.is_closing()


class SlowClientSocket(MemorySocket):
    """The socket of a client that takes ``speed`` bytes between two looks at TCP_INFO."""

    speed = 1
    _acked = 0

    def getsockopt(self, *_: int) -> bytes:
        self._acked += self.speed
        return struct.pack("=120xQ", self._acked)


def test_a_client_that_reads_slowly_is_kept(
    server: MemoryServer, protocol: Connection | WebSocket
) -> None:
    transport = cast(MemoryTransport, protocol.transport)
    transport._extra["socket"] = sock = SlowClientSocket(transport)  # type: ignore[attr-defined]
    protocol.pause_writing()
    server.pass_time(3 * SEND_TIMEOUT)
    assert not protocol.transport.is_closing()
    sock.speed = 0
    server.pass_time(SEND_TIMEOUT + SECOND_CHECK)
    assert protocol.transport.is_closing()
