"""Wakeups of a worker by its endpoints, on real listeners."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from prefork.http.peer import Addresses
from prefork.unix.shared_queue import SharedQueue
from prefork.worker.accept.accept_events import AcceptEvents
from prefork.worker.accept.endpoints import Endpoint
from prefork.worker.accept.handoff import HandoffQueue

TURNS = 5
"""Turns of the loop after which each wakeup has arrived."""


class Listeners:
    """Listeners of one worker, and how often they woke it."""

    def __init__(self, count: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.queue = SharedQueue()
        self.listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        for listener in self.listeners:
            listener.setblocking(False)
        endpoints = [
            Endpoint(listener, int(listener.family), None, None, None, 1.0)
            for listener in self.listeners
        ]
        self.events = AcceptEvents(self.loop, endpoints, HandoffQueue(self.queue))
        self.clients: list[socket.socket] = []
        self.wakeups = 0
        self.events.open(self._count)

    def _count(self) -> None:
        self.events.read_wakeups()
        self.wakeups += 1

    def connect(self, endpoint: int = 0) -> None:
        address = self.listeners[endpoint].getsockname()
        self.clients.append(socket.create_connection(address))

    def turn(self) -> int:
        """Let the loop run, and return how many wakeups came since the last time."""

        async def turns() -> None:
            for _ in range(TURNS):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())
        wakeups, self.wakeups = self.wakeups, 0
        return wakeups

    def close(self) -> None:
        self.events.close()
        self.loop.close()
        for client in self.clients:
            client.close()


@pytest.fixture
def one() -> Iterator[Listeners]:
    endpoints = Listeners(1)
    yield endpoints
    endpoints.close()


@pytest.fixture
def two() -> Iterator[Listeners]:
    endpoints = Listeners(2)
    yield endpoints
    endpoints.close()


def test_a_connection_wakes_once_and_waits(one: Listeners) -> None:
    assert one.turn() == 0
    assert not one.events.has_waiting()
    one.connect()
    assert one.turn() == 1
    assert one.turn() == 0, "although no worker has accepted it"
    assert one.events.has_waiting()
    one.connect()
    assert one.turn() == 1
    assert one.events.count_waiting() == 2


def test_a_disabled_wakeup_comes_when_it_is_enabled(one: Listeners) -> None:
    one.events.set_wakeup(False)
    one.connect()
    assert one.turn() == 0
    assert one.events.has_waiting()
    one.events.set_wakeup(True)
    assert one.turn() == 1


def test_enabling_the_wakeup_does_not_wake_when_no_connection_waits(one: Listeners) -> None:
    one.events.set_wakeup(False)
    one.connect()
    endpoint = one.events.pick_endpoint()
    assert isinstance(endpoint, Endpoint)
    fd, _ = endpoint.accept()
    socket.socket(fileno=fd).close()
    one.events.set_wakeup(True)
    assert one.turn() == 0


def test_a_handoff_wakes_also_when_the_wakeup_by_listeners_is_disabled(one: Listeners) -> None:
    one.events.set_wakeup(False)
    one.connect()
    given = one.clients[0]
    assert one.queue.put(given.fileno(), given.family, Addresses(None, None))
    assert one.turn() == 1
    assert one.events.count_waiting() == 2
    seen = {type(one.events.pick_endpoint()) for _ in range(100)}
    assert seen == {Endpoint, HandoffQueue}, "neither starves the other"


def test_the_picked_endpoint_is_one_where_a_connection_waits(two: Listeners) -> None:
    assert two.events.pick_endpoint() is None
    two.connect(endpoint=1)
    endpoint = two.events.pick_endpoint()
    assert isinstance(endpoint, Endpoint)
    assert endpoint.socket is two.listeners[1]
