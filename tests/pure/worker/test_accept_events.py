"""What a worker hears of its doors, on real listeners."""

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
"""Of the loop, in which whatever is there is heard."""


class Doors:
    """So many listeners, who listens, and how often it heard something."""

    def __init__(self, count: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.queue = SharedQueue()
        self.listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        for listener in self.listeners:
            listener.setblocking(False)
        doors = [Endpoint(listener, None, None, None, 1.0) for listener in self.listeners]
        self.listening = AcceptEvents(self.loop, doors, HandoffQueue(self.queue))
        self.clients: list[socket.socket] = []
        self.heard = 0
        self.listening.open(self._hear)

    def _hear(self) -> None:
        self.heard += 1

    def connect(self, door: int = 0) -> None:
        address = self.listeners[door].getsockname()
        self.clients.append(socket.create_connection(address))

    def turn(self) -> int:
        """How often something was heard since the last time."""

        async def turns() -> None:
            for _ in range(TURNS):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())
        heard, self.heard = self.heard, 0
        return heard

    def close(self) -> None:
        self.listening.close()
        self.loop.close()
        for client in self.clients:
            client.close()


@pytest.fixture
def one() -> Iterator[Doors]:
    doors = Doors(1)
    yield doors
    doors.close()


@pytest.fixture
def two() -> Iterator[Doors]:
    doors = Doors(2)
    yield doors
    doors.close()


def test_who_comes_is_heard_once_and_waits(one: Doors) -> None:
    assert one.turn() == 0
    assert not one.listening.has_waiting()
    one.connect()
    assert one.turn() == 1
    assert one.turn() == 0, "although nobody has taken it"
    assert one.listening.has_waiting()
    one.connect()
    assert one.turn() == 1
    assert one.listening.count_waiting() == 2


def test_who_is_not_armed_hears_of_it_when_it_is(one: Doors) -> None:
    one.listening.set_wakeup(False)
    one.connect()
    assert one.turn() == 0
    assert one.listening.has_waiting()
    one.listening.set_wakeup(True)
    assert one.turn() == 1


def test_to_be_armed_anew_says_nothing_when_nobody_waits(one: Doors) -> None:
    one.listening.set_wakeup(False)
    one.connect()
    door = one.listening.pick_endpoint()
    assert isinstance(door, Endpoint)
    fd, _ = door.accept()
    socket.socket(fileno=fd).close()
    one.listening.set_wakeup(True)
    assert one.turn() == 0


def test_what_is_shared_is_heard_also_by_who_is_not_armed(one: Doors) -> None:
    one.listening.set_wakeup(False)
    one.connect()
    given = one.clients[0]
    assert one.queue.put(given.fileno(), given.family, Addresses(None, None))
    assert one.turn() == 1
    assert one.listening.count_waiting() == 2
    seen = {type(one.listening.pick_endpoint()) for _ in range(100)}
    assert seen == {Endpoint, HandoffQueue}, "neither starves the other"


def test_the_door_is_one_where_somebody_waits(two: Doors) -> None:
    assert two.listening.pick_endpoint() is None
    two.connect(door=1)
    door = two.listening.pick_endpoint()
    assert isinstance(door, Endpoint)
    assert door.socket is two.listeners[1]
