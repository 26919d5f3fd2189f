"""How many connections an overloaded worker closes, and which ones it can hand off or close."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from prefork.http.load import CONNECTION, REQUEST, UNAVAILABLE
from prefork.unix.scoreboard import Scoreboard
from prefork.unix.shared_queue import SharedQueue
from prefork.worker.accept.handoff import ConnectionHandoff
from prefork.worker.accept.rebalance import HEARTBEATS, Rebalancer, count_surplus
from prefork.worker.monitor.stats import WorkerStats
from tests.fuzz.memory import MemoryServer, MemoryTransport
from tests.pure.http.asgi_server import request
from tests.toy_protocol import ToyConnection


@pytest.mark.parametrize(
    ("connections", "surplus"),
    [
        ([20, 0], 5),
        ([20, 20], 0),
        ([20, 18], 0),
        ([5, 0], 0),
        ([100, 90, 20], 15),
        ([20], 0),
    ],
)
def test_half_of_the_surplus_is_closed(connections: list[int], surplus: int) -> None:
    loads = [3 * REQUEST + count * CONNECTION + 7 for count in connections]
    assert count_surplus(loads, 0) == surplus


def test_a_worker_that_accepts_nothing_does_not_count() -> None:
    assert count_surplus([20 * CONNECTION, UNAVAILABLE], 0) == 0
    assert count_surplus([UNAVAILABLE, 20 * CONNECTION, 0], 0) == 0


class BusyWorker:
    """A worker that was busy all of the last second; its sibling has no connections."""

    def __init__(self, memory: MemoryServer) -> None:
        self.memory, self.state = memory, memory.state
        board = Scoreboard()
        self.row = board.acquire_row(1)
        board.acquire_row(2).loads[1] = 0
        memory.connect().send(request()).leave()
        now = memory.loop.time()
        self.stats = WorkerStats(self.row, 1, now)
        self.stats.publish(self.state, now + 1, 0.25)
        assert self.stats.busy_share == 1

    def connect_toy(self) -> ToyConnection:
        transport = MemoryTransport(self.memory.loop, None)
        transport.protocol = connection = ToyConnection(self.state)
        self.state.load.add(+CONNECTION)
        self.state.load.add_expected_requests(+1)
        connection.connection_made(transport)
        transport.put(b"1 GET /\n")
        return connection


@pytest.fixture
def worker() -> Iterator[BusyWorker]:
    with MemoryServer(False) as memory:
        yield BusyWorker(memory)


def test_only_connections_that_can_be_moved_are_closed(worker: BusyWorker) -> None:
    toys = [worker.connect_toy() for _ in range(12)]
    clients = [worker.memory.connect().send(request()) for _ in range(12)]
    worker.row.loads[0] = worker.state.load.word
    rebalancer = Rebalancer(worker.row, worker.state, worker.stats)
    for _ in range(HEARTBEATS):
        rebalancer.update()
    assert sum(client.connection.close_requested for client in clients) == 6
    assert not any(toy.close_requested for toy in toys)


def test_a_connection_that_cannot_be_moved_is_not_handed_off(worker: BusyWorker) -> None:
    toy = worker.connect_toy()
    with closing(SharedQueue()) as queue:
        handoff = ConnectionHandoff(
            worker.memory.loop, worker.state, worker.stats, queue, lambda: True
        )
        handoff.update()
        assert handoff.is_active
        toy.transport.put(b"2 GET /\n")  # type: ignore[attr-defined]
        worker.memory.settle()
        handoff.update()
        assert (queue.length(), len(worker.state.connections)) == (0, 1)
        assert worker.state.counters.requests == 3
