"""New connections go to the worker with the least load, for every interface."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import APPS, Server, serving, wait_for
from tests.live.raw_client import RawConnection, ask, get, tcp

WORKERS = 4
QUICK = get("/", "Connection: close")
SLOW = get("/0.8", "Connection: close")
FAIR = (f"--pythonpath={APPS}", "--accept-guard=5s")
"""With this guard no worker helps out early, not even on a machine that is busy with other tests.
"""


WAYS = ("streams", "protocols", "accepts", "in_asyncio", "in_uvloop")
LOOPS = [f"fair_loops:{way}" for way in WAYS]
"""Mains in event loops, by the ways in which they accept."""


@pytest.fixture(scope="module", params=["fair:wsgi", "fair:asgi", "fair:main", *LOOPS])
def server(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Server]:
    where = tmp_path_factory.mktemp("fair")
    with serving(where, request.param, *FAIR, workers=WORKERS) as server:
        yield server


def answered(wire: RawConnection) -> bytes:
    """Read the body of a response and the end of the connection: an event loop closes it a moment
    after it wrote, and counts it until then."""
    body = wire.answer().body
    assert wire.ends_cleanly()
    return body


def burst(server: Server, size: int, request: bytes) -> Counter[bytes]:
    """Open ``size`` connections at once, each with a request, and return how many each worker
    answered."""
    with ExitStack() as all_of_them:
        wires: list[RawConnection] = []
        for _ in range(size):
            wires.append(all_of_them.enter_context(tcp(server)))
            wires[-1].send(request)
        return Counter(map(answered, wires))


def test_successive_connections_go_to_each_worker_in_turn(server: Server) -> None:
    shares = Counter(burst(server, 1, QUICK).popitem()[0] for _ in range(200))
    assert sorted(shares.values()) == pytest.approx([50] * WORKERS, abs=2)


@pytest.mark.parametrize("turn", range(2))
def test_a_burst_is_shared_evenly(server: Server, turn: int) -> None:
    """Where other programs need the cores, too, a worker that has none may get one fewer, because a
    connection that waits for it is accepted by a sibling after a millisecond."""
    shares = burst(server, 2 * WORKERS, SLOW).values()
    assert sorted(shares) == pytest.approx([2] * WORKERS, abs=1)


def test_connections_that_stay_open_are_spread(tmp_path: Path) -> None:
    with (
        serving(tmp_path, "fair:wsgi", *FAIR, workers=WORKERS) as server,
        ExitStack() as all_of_them,
    ):
        wires = []
        for _ in range(32):
            wires.append(all_of_them.enter_context(tcp(server)))
            wires[-1].send(get("/0.01"))
        shares = Counter(wire.answer().body for wire in wires)
        # Requests count first: a worker without any may accept one more connection than its share.
        assert sorted(shares.values()) == pytest.approx([8] * WORKERS, abs=4)


@pytest.mark.parametrize("app", ["fair:wsgi", "fair:asgi", "fair:main", "fair_loops:streams"])
def test_a_worker_that_was_stopped_while_idle_delays_no_connection(
    tmp_path: Path, app: str
) -> None:
    with serving(tmp_path, app, f"--pythonpath={APPS}", workers=WORKERS) as server:
        victim = int(ask(server, QUICK).body)
        os.kill(victim, signal.SIGSTOP)
        try:
            answered = Counter(int(ask(server, QUICK).body) for _ in range(60))
            assert victim not in answered
        finally:
            os.kill(victim, signal.SIGCONT)
        wait_for(lambda: int(ask(server, QUICK).body) == victim, "the worker accepts again")


def test_a_worker_at_its_limit_accepts_no_more(tmp_path: Path) -> None:
    """The third request waits in the queue until one of the two is answered."""
    options = ("--accept-limit=1", f"--pythonpath={APPS}")
    with (
        serving(tmp_path, "fair:asgi", *options, workers=2) as server,
        tcp(server) as a,
        tcp(server) as b,
    ):
        a.send(SLOW)
        b.send(SLOW)
        answers = Counter(ask(server, QUICK).body for _ in range(1))
        answers += Counter((a.answer().body, b.answer().body))
        assert len(answers) == 2


def test_without_fairness_connections_are_answered_all_the_same(tmp_path: Path) -> None:
    options = ("--accept=any", f"--pythonpath={APPS}")
    with serving(tmp_path, "fair:asgi", *options, workers=2) as server:
        assert burst(server, 16, QUICK).total() == 16


def test_with_rebalance_clients_move_on_to_a_worker_that_started_later(tmp_path: Path) -> None:
    with (
        serving(tmp_path, "fair:wsgi", "--rebalance", f"--pythonpath={APPS}") as server,
        ExitStack() as all_of_them,
    ):
        wires = [all_of_them.enter_context(tcp(server)) for _ in range(20)]
        assert len({wire.send(get("/")).answer().body for wire in wires}) == 1
        os.kill(server.pid, signal.SIGTTIN)
        server.ready(2)

        def both_have_some() -> bool:
            """Send a request on all connections at once; a client whose connection is closed
            connects again."""
            for wire in wires:
                wire.send(get("/0.01"))
            answers = [wire.answer() for wire in wires]
            for index, answer in enumerate(answers):
                if answer.closes:
                    wires[index] = all_of_them.enter_context(tcp(server))
            shares = Counter(answer.body for answer in answers)
            return len(shares) == 2 and min(shares.values()) >= 5

        wait_for(both_have_some, "the new worker has its share")
