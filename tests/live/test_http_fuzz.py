"""Randomly damaged requests: no bytes make a server fail."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.corpus import load_cases
from tests.live.harness import APPS, Server, serving
from tests.live.process_memory import PeakMemory
from tests.live.raw_client import RawConnection, get, unix

ROUNDS = 1500

STATUSES = {200, 400, 413, 414, 417, 431, 501, 505}

PIECES = [
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b";", b",", b"\xff", b"%"),
    *(b"/", b"0", b"-", b"ffffffff", b"HTTP/1.1", b"HTTP/1.0", b"GET / HTTP/1.1\r\n"),
    *(b"Host: b\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Expect: 100-continue\r\n", b"Connection: Upgrade\r\nUpgrade: x\r\n"),
    *(b"Connection: close\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"a" * 300, b"X: y\r\n" * 20),
]

CORPUS = [case.raw for case in (*load_cases("valid"), *load_cases("invalid"))]


def damaged_requests(dice: random.Random) -> bytes:
    """Return one or two requests of the corpus with random damage."""
    data = bytearray(dice.choice(CORPUS))
    if dice.random() < 0.3:
        data += dice.choice(CORPUS)
    for _ in range(dice.randint(1, 4)):
        start = dice.randint(0, len(data))
        match dice.randint(0, 4):
            case 0:
                del data[start : start + dice.randint(1, 8)]
            case 1:
                data[start:start] = dice.choice(PIECES)
            case 2:
                data[start : start + 1] = bytes([dice.randint(0, 255)])
            case 3:
                data[start:start] = data[start : start + dice.randint(1, 40)]
            case 4:
                del data[start:]
    return bytes(data)


@pytest.fixture(params=["wsgi", "asgi"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    limits = ("--limit-line", "200", "--limit-headers", "16", "--limit-header-size", "1k")
    arguments = ("-b", f"unix:{tmp_path}/socket", "--pythonpath", str(APPS), "--limit-body", "64")
    app = f"recorder:{request.param}"
    with serving(tmp_path, app, *arguments, *limits) as server:
        server.app = app  # type: ignore[attr-defined]
        yield server


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_requests_get_valid_responses_or_none(server: Server, seed: int) -> None:
    dice = random.Random(seed)
    (worker,) = server.workers()
    half_closes = "wsgi" in server.app  # type: ignore[attr-defined]
    for _ in range(ROUNDS):
        data = damaged_requests(dice)
        with unix(server.cwd / "socket") as wire:
            try:
                wire.send(data)
                if half_closes:
                    check_responses(wire.shut_down_writing(), data)
            except BrokenPipeError:
                pass  # refused before all of it was sent
    with unix(server.cwd / "socket") as wire:
        assert wire.send(get("/seen")).answer().status == 200
    assert [each.pid for each in server.workers()] == [worker.pid]
    assert not server.count("Traceback|ERROR|failed"), server.log


def check_responses(wire: RawConnection, data: bytes) -> None:
    """Check that all responses are complete and plausible, and that the connection ends."""
    while not wire.has_ended():
        answer = wire.head()
        if answer.status != 100:
            assert answer.status in STATUSES, (answer, data)
            wire.body(answer)


def test_many_requests_and_connections_leave_nothing_behind(server: Server) -> None:
    """Caches, such as that of field names, are bounded; the first rounds fill them."""
    (worker,) = server.workers()
    dice = random.Random(3)

    def use(rounds: int) -> None:
        for _ in range(rounds):
            with unix(server.cwd / "socket") as wire:
                try:
                    wire.send(*[get("/" + "x" * dice.randint(1, 99), f"X-{dice.random()}: y")] * 4)
                    wire.send(damaged_requests(dice))
                except BrokenPipeError:
                    pass
            with unix(server.cwd / "socket") as wire:
                wire.send(get("/seen")).answer()

    use(1500)
    peak = PeakMemory(worker.pid)
    use(1500)
    assert peak.grown() < 2**20
