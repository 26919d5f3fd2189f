"""--slow-log: a slow request is logged with its stack while it runs, and again at its end."""

from pathlib import Path

import pytest

from tests.live.app_sources import ASYNC_HOLD, HOLD, write_version
from tests.live.harness import serving, wait_for
from tests.live.held_requests import Gate, read_response, send_request

SLOW = ("--slow-log", "200ms")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@pytest.mark.parametrize("kind", ["wsgi", "threads", "asgi"])
def test_a_slow_request_is_logged_while_it_runs_and_at_its_end(
    tmp_path: Path, gate: Gate, kind: str
) -> None:
    interface, code = ("asgi", ASYNC_HOLD) if kind == "asgi" else ("wsgi", HOLD)
    write_version(tmp_path, 1, interface, code)
    threads = ("--threads", "1") if kind == "threads" else ()
    with serving(tmp_path, "app:app", *SLOW, *threads) as server:
        held = send_request(server.port, "/hold?a=b")
        gate.wait_entered()
        request = rf"GET /hold\?a=b from 127.0.0.1:{held.getsockname()[1]}"
        server.wait_log(rf"WARNING slow: {request} has no answer after [\d.]+s \(worker 0\), it is")
        server.wait_log(r'^    File ".*/app.py", line \d+, in hold$')
        assert server.count("answered") == 0
        gate.open()
        assert read_response(held) == (200, b"held")
        server.wait_log(rf"WARNING slow: {request}, answered 200 after [\d.]+s \(worker 0\)$")
        assert server.get()[0] == 200
        assert server.count("has no answer") == server.count("answered") == 1
        assert server.count("blocked|gone") == 0


def test_a_request_that_waits_for_a_thread_is_logged_as_such(tmp_path: Path, gate: Gate) -> None:
    write_version(tmp_path, 1, "wsgi", HOLD)
    with serving(tmp_path, "app:app", *SLOW, "--threads", "1") as server:
        held = send_request(server.port, "/hold")
        gate.wait_entered()
        waiting = send_request(server.port, "/")
        server.wait_log(r"slow: GET / from .* has no answer after .*, it waits for a thread")
        gate.open()
        assert read_response(held)[0] == read_response(waiting)[0] == 200
        server.wait_log("slow: GET / from .*, answered 200")


def test_a_request_that_blocks_the_event_loop_is_logged_with_the_time(
    tmp_path: Path, gate: Gate
) -> None:
    code = "async def holds():\n    open('gate').read()\n    return b'held'\n"
    write_version(tmp_path, 1, "asgi", code)
    with serving(tmp_path, "app:app", *SLOW) as server:
        held = send_request(server.port, "/holds")
        gate.wait_entered()
        server.wait_log(
            r"slow: the event loop is blocked for [\d.]+s by GET /holds from .* \(worker 0\), at"
        )
        server.wait_log(r'^    File ".*/app.py", line \d+, in holds$')
        gate.open()
        assert read_response(held) == (200, b"held")
        server.wait_log(r"slow: the event loop was blocked for [\d.]+s \(worker 0\)$")
        assert server.count("is blocked") == server.count("was blocked") == 1


def test_a_task_of_the_app_that_blocks_the_loop_is_logged(tmp_path: Path, gate: Gate) -> None:
    code = """
import asyncio
async def behind():
    open('gate').read()
async def starts():
    globals()["task"] = asyncio.create_task(behind())
    return b"started"
"""
    write_version(tmp_path, 1, "asgi", code)
    with serving(tmp_path, "app:app", *SLOW) as server:
        assert server.get("/starts")[0] == 200
        gate.wait_entered()
        server.wait_log(r"slow: the event loop is blocked for [\d.]+s \(worker 0\), at")
        server.wait_log(r'^    File ".*/app.py", line \d+, in behind$')
        gate.open()
        server.wait_log("the event loop was blocked")


def test_of_many_slow_requests_only_some_are_logged_with_stacks(tmp_path: Path, gate: Gate) -> None:
    """All of them exceed the limit while the loop is blocked."""
    code = """
import asyncio
event = asyncio.Event()
arrived = 0
async def waits():
    global arrived
    arrived += 1
    await event.wait()
    return b"waited"
async def count():
    return str(arrived).encode()
async def blocks():
    open("gate").read()
    return b"blocked"
async def opens():
    event.set()
    return b"open"
"""
    write_version(tmp_path, 1, "asgi", code)
    with serving(tmp_path, "app:app", "--slow-log", "1s") as server:
        waiting = [send_request(server.port, "/waits") for _ in range(20)]
        wait_for(lambda: server.get("/count")[1] == b"20", "all have arrived")
        blocking = send_request(server.port, "/blocks")
        gate.wait_entered()
        server.wait_log("the event loop is blocked")
        gate.open()
        assert read_response(blocking)[0] == 200
        server.wait_log(r"slow: \d+ more have no answer either \(worker 0\)")
        assert server.count("slow: GET /waits .* has no answer") < 20
        assert server.get("/opens")[0] == 200
        assert {read_response(connection) for connection in waiting} == {(200, b"waited")}
        server.wait_log("slow: GET /waits .* answered 200", 20)


def test_a_slow_request_left_by_its_client_is_logged_and_is_in_the_access_log(
    tmp_path: Path, gate: Gate
) -> None:
    write_version(tmp_path, 1, "asgi", ASYNC_HOLD)
    access = tmp_path / "access.log"
    with serving(tmp_path, "app:app", *SLOW, "--access-log", str(access)) as server:
        held = send_request(server.port, "/hold")
        gate.wait_entered()
        server.wait_log("slow: GET /hold")
        held.close()
        server.wait_log("slow: GET /hold from .*, left by its client after")
        gate.open()
        assert server.get("/")[0] == 200
        assert server.stop() == 0
        assert access.read_text().count("GET /") == 2


def test_quick_requests_are_not_logged(tmp_path: Path, gate: Gate) -> None:
    write_version(tmp_path, 1, "wsgi", HOLD)
    with serving(tmp_path, "app:app", "--slow-log", "1h") as server:
        assert server.get()[0] == 200
        held = send_request(server.port, "/hold")
        gate.wait_entered()
        gate.open()
        assert read_response(held)[0] == 200
        assert server.stop() == 0
        assert server.count("slow") == 0
