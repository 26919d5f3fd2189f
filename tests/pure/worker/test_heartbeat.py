"""The heartbeat: regular while anything is in flight, rare while nothing is, and never late."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from prefork.http.limits import Limits
from prefork.http.load import CONNECTION, NOBODY, Load
from prefork.http.tick import PERIOD
from prefork.unix.scoreboard import BEAT, DEADLINE, DUE, Scoreboard
from prefork.worker.master_channel import Line
from prefork.worker.monitor.heartbeat import QUIET, Heartbeat
from prefork.worker.monitor.stats import Figures
from tests.fuzz.memory import MemoryServer

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
LIMITS = Limits(keepalive=80, header_timeout=10)
TIMEOUT = 30.0


class Body:
    """One heart, whose loop's clock moves only when a test says so."""

    def __init__(self, server: MemoryServer, longest: float = QUIET) -> None:
        self.server = server
        self.row = Scoreboard().take(1)
        self.beats: list[float] = []
        line = Line(-1, self.row, TIMEOUT, lambda _title: None, lambda: None)
        figures = Figures(self.row, 1, server.loop.time())
        self.looks = 0
        self.heart = Heartbeat(
            server.loop, server.service, line, figures, self._look, [self._note], longest
        )
        self.heart.beat()

    def _look(self) -> None:
        self.looks += 1

    def _note(self) -> None:
        self.beats.append(self.server.loop.time())

    def pass_time(self, seconds: float) -> "Body":
        loop = self.server.loop
        for _ in range(round(seconds / PERIOD)):
            loop.ahead += PERIOD
            loop.call_soon(loop.stop)
            loop.run_forever()
            self.server.settle()
        return self

    @property
    def gaps(self) -> list[float]:
        """Between the beats, and from the last one until now."""
        times = [*self.beats, self.server.loop.time()]
        return [after - before for before, after in pairwise(times)]


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    with MemoryServer(False, LIMITS) as server:
        yield server


def test_pauses_double_while_nothing_is_in_flight(server: MemoryServer) -> None:
    gaps = Body(server).pass_time(60).gaps
    assert gaps[:7] == [PERIOD, 2 * PERIOD, 4 * PERIOD, 8 * PERIOD, 16 * PERIOD, QUIET, QUIET]
    assert max(gaps) == QUIET
    assert max(Body(server, 1.0).pass_time(20).gaps) == 1.0
    assert max(Body(server, 0.1).pass_time(20).gaps) == PERIOD, "a short timeout bounds it"


def test_a_request_in_flight_keeps_it_regular(server: MemoryServer) -> None:
    server.recorder.later = []
    server.connect().send(GET)
    assert set(Body(server).pass_time(30).gaps) <= {0.0, PERIOD}


def test_the_first_request_after_idleness_finds_the_clock_right(server: MemoryServer) -> None:
    body = Body(server)
    client = server.connect().send(GET)
    body.pass_time(30)
    assert body.heart.is_slow, "an idle connection does not keep it awake"
    body.server.loop.ahead += PERIOD
    server.recorder.later = []
    client.send(GET)
    (exchange,) = server.recorder.later
    assert exchange.began == server.loop.time()
    assert body.row.floats[DUE] - body.row.floats[BEAT] == PERIOD
    assert body.row.floats[DEADLINE] - body.row.floats[BEAT] == PERIOD + TIMEOUT
    del body.beats[:-1]
    assert body.pass_time(2).gaps[1:6] == [PERIOD] * 5


def test_half_a_request_after_idleness_gets_all_of_its_time(server: MemoryServer) -> None:
    body = Body(server)
    client = server.connect().send(GET)
    body.pass_time(30)
    client.send(GET[:5])
    body.pass_time(LIMITS.header_timeout - 1)
    assert client.statuses == [200]
    body.pass_time(2)
    assert client.statuses == [200, 408]


def test_a_connection_that_was_not_looked_at_since_its_request_keeps_it_awake(
    server: MemoryServer,
) -> None:
    """Its reader is its own still, and would not be borrowed."""
    client = server.connect().send(GET)
    body = Body(server).pass_time(30)
    client.send(GET.replace(b"/a", b"/b"))
    server.service.watched.clear()  # answered at once by a worker that watches only who waits
    body.pass_time(PERIOD)
    assert not server.service.quiet_time()
    client.send(GET[:5])
    assert not body.heart.is_slow
    body.pass_time(LIMITS.header_timeout - 1)
    assert client.statuses == [200, 200]


def test_idle_connections_are_closed_in_time(server: MemoryServer) -> None:
    body = Body(server)
    client = server.connect().send(GET)
    body.pass_time(79)
    assert not client.closed
    body.pass_time(8)
    assert client.closed


def test_a_wake_up_of_a_listener_brings_it_forward_and_looks_at_the_siblings(
    server: MemoryServer,
) -> None:
    body = Body(server).pass_time(30)
    looks, then = body.looks, server.loop.time()
    body.heart.rouse()
    assert body.looks == looks + 1
    body.heart.rouse()
    assert body.looks == looks + 1, "once is enough"
    body.pass_time(PERIOD)
    assert body.beats[-1] == then + PERIOD


def test_what_is_taken_during_a_beat_is_noticed(server: MemoryServer) -> None:
    body = Body(server)
    body.pass_time(5)
    body.heart._also = [lambda: server.service.load.change(+CONNECTION)]
    server.service.load.expect(+1)
    body.pass_time(QUIET)
    assert not body.heart.is_slow


def test_a_load_tells_its_next_change_once_also_when_it_was_hidden_meanwhile() -> None:
    words = [0]
    load = Load(words, 0)
    load.show()
    told: list[int] = []
    load.tell_next_change(lambda: told.append(words[0]))
    load.hide()
    load.show()
    assert not told
    load.change(+CONNECTION)
    load.change(+CONNECTION)
    assert (told, words) == ([CONNECTION], [2 * CONNECTION])
    load.tell_next_change(lambda: told.append(0))
    load.tell_no_change()
    load.change(-CONNECTION)
    load.tell_next_change(lambda: told.append(7))
    load.hide()
    load.change(+CONNECTION)
    assert (told, words) == ([CONNECTION, 7], [NOBODY])
