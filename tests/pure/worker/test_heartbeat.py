"""The heartbeat: regular while anything is in flight, rare while nothing is, and never late."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from prefork.http.limits import Limits
from prefork.http.load import CONNECTION, UNAVAILABLE, Load
from prefork.http.tick import TICK_PERIOD
from prefork.unix.scoreboard import BEAT, DEADLINE, DUE, Scoreboard
from prefork.worker.master_channel import MasterChannel
from prefork.worker.monitor.heartbeat import LONGEST_IDLE_PAUSE, Heartbeat
from prefork.worker.monitor.stats import WorkerStats
from tests.fuzz.memory import MemoryServer

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
LIMITS = Limits(keepalive=80, header_timeout=10)
TIMEOUT = 30.0


class SimulatedHeartbeat:
    """A heartbeat on a loop whose clock moves only when a test says so."""

    def __init__(self, server: MemoryServer, longest: float = LONGEST_IDLE_PAUSE) -> None:
        self.server = server
        self.row = Scoreboard().acquire_row(1)
        self.beats: list[float] = []
        channel = MasterChannel(-1, self.row, TIMEOUT, lambda _title: None, lambda: None)
        stats = WorkerStats(self.row, 1, server.loop.time())
        self.refreshes = 0
        self.heartbeat = Heartbeat(
            server.loop, server.state, channel, stats, self._count_refresh, [self._record], longest
        )
        self.heartbeat.beat()

    def _count_refresh(self) -> None:
        self.refreshes += 1

    def _record(self) -> None:
        self.beats.append(self.server.loop.time())

    def pass_time(self, seconds: float) -> "SimulatedHeartbeat":
        loop = self.server.loop
        for _ in range(round(seconds / TICK_PERIOD)):
            loop.ahead += TICK_PERIOD
            loop.call_soon(loop.stop)
            loop.run_forever()
            self.server.settle()
        return self

    @property
    def gaps(self) -> list[float]:
        """Seconds between the heartbeats, and from the last one until now."""
        times = [*self.beats, self.server.loop.time()]
        return [after - before for before, after in pairwise(times)]


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    with MemoryServer(False, LIMITS) as server:
        yield server


def test_pauses_double_while_nothing_is_in_flight(server: MemoryServer) -> None:
    gaps = SimulatedHeartbeat(server).pass_time(60).gaps
    assert gaps[:7] == [
        TICK_PERIOD,
        2 * TICK_PERIOD,
        4 * TICK_PERIOD,
        8 * TICK_PERIOD,
        16 * TICK_PERIOD,
        LONGEST_IDLE_PAUSE,
        LONGEST_IDLE_PAUSE,
    ]
    assert max(gaps) == LONGEST_IDLE_PAUSE
    assert max(SimulatedHeartbeat(server, 1.0).pass_time(20).gaps) == 1.0
    assert max(SimulatedHeartbeat(server, 0.1).pass_time(20).gaps) == TICK_PERIOD, (
        "a short timeout bounds it"
    )


def test_a_request_in_flight_keeps_it_regular(server: MemoryServer) -> None:
    server.recorder.later = []
    server.connect().send(GET)
    assert set(SimulatedHeartbeat(server).pass_time(30).gaps) <= {0.0, TICK_PERIOD}


def test_the_first_request_after_idleness_sees_the_right_time(server: MemoryServer) -> None:
    simulated = SimulatedHeartbeat(server)
    client = server.connect().send(GET)
    simulated.pass_time(30)
    assert simulated.heartbeat.is_pausing, "an idle connection allows long pauses"
    simulated.server.loop.ahead += TICK_PERIOD
    server.recorder.later = []
    client.send(GET)
    (exchange,) = server.recorder.later
    assert exchange.app_called_at == server.loop.time()
    assert simulated.row.floats[DUE] - simulated.row.floats[BEAT] == TICK_PERIOD
    assert simulated.row.floats[DEADLINE] - simulated.row.floats[BEAT] == TICK_PERIOD + TIMEOUT
    del simulated.beats[:-1]
    assert simulated.pass_time(2).gaps[1:6] == [TICK_PERIOD] * 5


def test_half_a_request_after_idleness_gets_its_full_timeout(server: MemoryServer) -> None:
    simulated = SimulatedHeartbeat(server)
    client = server.connect().send(GET)
    simulated.pass_time(30)
    client.send(GET[:5])
    simulated.pass_time(LIMITS.header_timeout - 1)
    assert client.statuses == [200]
    simulated.pass_time(2)
    assert client.statuses == [200, 408]


def test_a_connection_that_was_not_checked_since_its_request_prevents_long_pauses(
    server: MemoryServer,
) -> None:
    """It still has a reader of its own, so it would not borrow one."""
    client = server.connect().send(GET)
    simulated = SimulatedHeartbeat(server).pass_time(30)
    client.send(GET.replace(b"/a", b"/b"))
    # as if it was answered at once
    server.state.active_connections.clear()
    simulated.pass_time(TICK_PERIOD)
    assert not server.state.tickless_seconds()
    client.send(GET[:5])
    assert not simulated.heartbeat.is_pausing
    simulated.pass_time(LIMITS.header_timeout - 1)
    assert client.statuses == [200, 200]


def test_idle_connections_are_closed_in_time(server: MemoryServer) -> None:
    simulated = SimulatedHeartbeat(server)
    client = server.connect().send(GET)
    simulated.pass_time(79)
    assert not client.closed
    simulated.pass_time(8)
    assert client.closed


def test_a_wakeup_by_a_listener_brings_the_heartbeat_forward_and_refreshes_the_policy(
    server: MemoryServer,
) -> None:
    simulated = SimulatedHeartbeat(server).pass_time(30)
    refreshes, then = simulated.refreshes, server.loop.time()
    simulated.heartbeat.wake_for_listener()
    assert simulated.refreshes == refreshes + 1
    simulated.heartbeat.wake_for_listener()
    assert simulated.refreshes == refreshes + 1, "once is enough"
    simulated.pass_time(TICK_PERIOD)
    assert simulated.beats[-1] == then + TICK_PERIOD


def test_a_connection_that_is_accepted_during_a_heartbeat_is_noticed(server: MemoryServer) -> None:
    simulated = SimulatedHeartbeat(server)
    simulated.pass_time(5)
    simulated.heartbeat._also = [lambda: server.state.load.add(+CONNECTION)]
    server.state.load.add_expected_requests(+1)
    simulated.pass_time(LONGEST_IDLE_PAUSE)
    assert not simulated.heartbeat.is_pausing


def test_a_load_reports_its_next_change_once_also_when_it_was_hidden_meanwhile() -> None:
    words = [0]
    load = Load(words, 0)
    load.mark_available()
    changes: list[int] = []
    load.notify_on_next_change(lambda: changes.append(words[0]))
    load.mark_unavailable()
    load.mark_available()
    assert not changes
    load.add(+CONNECTION)
    load.add(+CONNECTION)
    assert (changes, words) == ([CONNECTION], [2 * CONNECTION])
    load.notify_on_next_change(lambda: changes.append(0))
    load.cancel_notification()
    load.add(-CONNECTION)
    load.notify_on_next_change(lambda: changes.append(7))
    load.mark_unavailable()
    load.add(+CONNECTION)
    assert (changes, words) == ([CONNECTION, 7], [UNAVAILABLE])
