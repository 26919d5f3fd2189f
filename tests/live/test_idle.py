"""A worker with nothing in flight beats rarely, and wakes up for the next connection or request."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from prefork.http.load import TURN_MASK
from prefork.unix.scoreboard import open_scoreboard
from tests.live.harness import APPS, Server, serving, wait_for
from tests.live.raw_client import RawConnection, ask, get, tcp

WORKERS = 4
QUICK = get("/", "Connection: close")
LONG = 2.0
"""Seconds between two beats that only an idle worker reaches."""


def rows(server: Server) -> list[dict[str, Any]]:
    """Return the rows of all workers in the scoreboard."""
    fds = Path(f"/proc/{server.pid}/fd")
    boards = (fd for fd in fds.iterdir() if "prefork-master" in os.readlink(fd))
    return list(open_scoreboard(str(next(boards))))


def wait_idle(server: Server, longest: float = LONG) -> None:
    """Wait until all workers have planned their next beat for ``longest`` seconds later or more."""

    def planned() -> bool:
        return all(row["due"] - row["beat"] >= longest for row in rows(server))

    wait_for(planned, "all workers are idle")


APPLICATIONS = [
    "fair:wsgi",
    "fair:asgi",
    "fair:main",
    "fair_loops:streams",
    "fair_loops:accepts",
    "fair_loops:in_asyncio",
]


@pytest.fixture(scope="module", params=APPLICATIONS)
def server(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Server]:
    where = tmp_path_factory.mktemp("idle")
    options = (f"--pythonpath={APPS}", "--accept-guard=5s", "--timeout=30s")
    with serving(where, request.param, *options, workers=WORKERS) as server:
        yield server


def test_idle_workers_share_connections_as_awake_ones_do(server: Server) -> None:
    ask(server, QUICK)
    wait_idle(server)
    shares: Counter[bytes] = Counter()
    for _ in range(2 * WORKERS):
        shares[ask(server, QUICK).body] += 1
        # An event loop closes a connection after its client has seen the end of it.
        wait_for(lambda: not any(row["load"] & ~TURN_MASK for row in rows(server)), "it is closed")
    assert set(shares.values()) == {2}


def test_a_burst_on_idle_workers_is_shared_evenly(server: Server) -> None:
    ask(server, QUICK)
    wait_idle(server)
    with ExitStack() as all_of_them:
        wires = [all_of_them.enter_context(tcp(server)) for _ in range(2 * WORKERS)]
        for wire in wires:
            wire.send(get("/0.8", "Connection: close"))
        shares = Counter(wire.answer().body for wire in wires)
    assert set(shares.values()) == {2}


def test_the_first_request_after_idleness_writes_the_deadline(server: Server) -> None:
    """The timeout of a call that blocks counts from the call, not from the next idle beat."""
    ask(server, QUICK)
    wait_idle(server)
    with tcp(server) as wire:
        before = time.monotonic()
        wire.send(get("/0.5", "Connection: close"))
        wait_for(lambda: any(row["beat"] >= before for row in rows(server)), "one has woken")
        awake = [row for row in rows(server) if row["load"] >> 44 and row["load"] != (1 << 64) - 1]
        now = time.monotonic()
        assert all(row["deadline"] <= now + 30 + 0.3 for row in awake)
        wire.answer()


def test_a_worker_stopped_while_idle_holds_up_no_connection(tmp_path: Path) -> None:
    with serving(tmp_path, "fair:asgi", f"--pythonpath={APPS}", workers=WORKERS) as server:
        victim = int(ask(server, QUICK).body)
        wait_idle(server)
        os.kill(victim, signal.SIGSTOP)
        try:
            answered = Counter(int(ask(server, QUICK).body) for _ in range(30))
            assert victim not in answered
        finally:
            os.kill(victim, signal.SIGCONT)
        wait_for(lambda: int(ask(server, QUICK).body) == victim, "it takes its turns again")


@pytest.mark.parametrize("app", ["fair:wsgi", "fair:asgi"])
def test_date_and_clock_are_right_after_idleness(tmp_path: Path, app: str) -> None:
    with serving(tmp_path, app, f"--pythonpath={APPS}") as server, tcp(server) as wire:
        wire.send(get("/")).answer()
        wait_idle(server)
        wait_for(lambda: rows(server)[0]["beat"] + LONG < time.monotonic(), "the beat is old")
        answer = wire.send(get("/")).answer()
        date = parsedate_to_datetime(answer.get("date") or "").timestamp()
        assert abs(date - time.time()) <= 1.5
        assert rows(server)[0]["due"] - rows(server)[0]["beat"] < 1.0


BLOCKS = """
import asyncio, time
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        asyncio.get_running_loop().call_later(3.0, calculates_for_ever)
        while True:
            event = await receive()
            await send({"type": event["type"] + ".complete"})
def calculates_for_ever():
    time.sleep(3600)
"""

MAIN_BLOCKS = """
import asyncio, time
async def app(listener):
    asyncio.get_running_loop().call_later(3.0, calculates_for_ever)
    async with await asyncio.start_server(lambda reader, writer: None, sock=listener) as server:
        await server.serve_forever()
def calculates_for_ever():
    time.sleep(3600)
"""


@pytest.mark.parametrize("code", [BLOCKS, MAIN_BLOCKS], ids=["asgi", "main"])
def test_a_loop_that_blocks_with_nothing_in_flight_is_found(tmp_path: Path, code: str) -> None:
    (tmp_path / "app.py").write_text(code)
    with serving(tmp_path, "app:app", "--timeout", "1s") as server:
        server.wait_log(r"passed its deadline")
        server.wait_log(r"its main thread is at /.*/app.py:\d+ in calculates_for_ever")


def test_a_client_of_an_idle_worker_gets_all_of_its_time_for_a_head(tmp_path: Path) -> None:
    options = (f"--pythonpath={APPS}", "--header-timeout=1s")
    with serving(tmp_path, "fair:wsgi", *options) as server, tcp(server) as wire:
        wire.send(get("/")).answer()
        wait_idle(server)
        wait_for(lambda: rows(server)[0]["beat"] + LONG < time.monotonic(), "the beat is old")
        request = get("/")
        wire.send(request[:9])
        wait_for(lambda: rows(server)[0]["due"] - rows(server)[0]["beat"] < 1.0, "it has woken")
        assert answered_after(wire, request[9:]) == 200


def answered_after(wire: RawConnection, rest: bytes) -> int:
    """Send the rest of the request; return the status of the answer."""
    return wire.send(rest).answer().status
