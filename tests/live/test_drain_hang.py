"""A request that hangs while its worker drains: which limit ends it, and what is told about it."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.live.app_sources import HOLD, write_version
from tests.live.harness import command, serving, wait_for
from tests.live.held_requests import Gate, read_response, send_request

HANGS_LATER = """\
import os, time
def app(environ, start_response):
    start_response("200 OK", [])
    open("begun", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.01)
        yield b"x"
    time.sleep(3600)
"""
"""Each piece of its answer is a heartbeat; it hangs when the test says so."""

ASYNC_BLOCKS = """
import time
async def hold():
    open("gate").read()
"""

MAIN_BLOCKS = """\
def app(listener):
    connection, _ = listener.accept()
    connection.recv(65536)
    open("gate").read()
"""


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def worker_rows(name: str, folder: Path) -> list[dict[str, Any]]:
    """Return what ``prefork show`` tells about the workers of an app."""
    app = json.loads(command("show", name, "--json", cwd=folder).stdout)
    return list(app["workers"])


def test_the_timeout_ends_a_request_that_hangs_while_its_worker_drains(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(HANGS_LATER)
    options = ("--timeout", "1s", "--kill-timeout", "10m", "-n", "drain-hang")
    with serving(tmp_path, "app:app", *options) as server:
        victim = send_request(server.port, "/late")
        wait_for((tmp_path / "begun").exists, "the request has begun")
        server.send(signal.SIGHUP)
        pid = server.wait_log(r"pid (\d+), gen 1\) drains: reload")[1]
        (tmp_path / "go").touch()
        server.wait_log(rf"pid {pid}, gen 1\) passed its deadline \(--timeout\); its stacks follow")
        where = r"GET /late from 127.0.0.1:\d+ for \d+\.\ds, at /.*/app.py:8 in app"
        server.wait_log(rf"\[{pid}\] ERROR worker 0 is stuck: {where}")
        server.wait_log(r"^      time.sleep\(3600\)")
        limit = r"it passed its deadline \(--timeout\)"
        server.wait_log(rf"pid {pid}, gen 1\) gone: reload; killed, {limit}: {where}")
        why = " ".join(command("why", "drain-hang", cwd=tmp_path).stdout.split())
        assert (
            f"worker 0 (pid {pid}, gen 1): reload (SIGKILL, killed by --timeout) GET /late" in why
        )
        victim.close()


@pytest.mark.slow  # it has to be certain that the drain begins before the timeout
def test_the_timeout_ends_a_thread_that_hangs_while_its_worker_drains(
    tmp_path: Path, gate: Gate
) -> None:
    write_version(tmp_path, 1, "wsgi", HOLD)
    options = ("--threads", "2", "--timeout", "20s", "--kill-timeout", "10m")
    with serving(tmp_path, "app:app", *options) as server:
        victim = send_request(server.port, "/hold")
        gate.wait_entered()
        server.send(signal.SIGTERM)
        server.wait_log(r"passed its deadline \(--timeout\)")
        server.wait_log(r"gone: stop; killed, it passed its deadline \(--timeout\): GET /hold")
        victim.close()
        assert server.wait_exit() == 0


@pytest.mark.parametrize("kind", ["wsgi", "threads", "asgi", "main"])
def test_the_kill_timeout_reports_the_requests_that_it_cuts(
    tmp_path: Path, gate: Gate, kind: str
) -> None:
    if kind == "main":
        (tmp_path / "app.py").write_text(MAIN_BLOCKS)
    elif kind == "asgi":
        write_version(tmp_path, 1, "asgi", ASYNC_BLOCKS)
    else:
        write_version(tmp_path, 1, "wsgi", HOLD)
    options = ["--timeout", "off", "--kill-timeout", "1s"]
    options += ["--threads", "2"] if kind == "threads" else []
    with serving(tmp_path, "app:app", *options) as server:
        victim = send_request(server.port, "/hold")
        gate.wait_entered()
        server.send(signal.SIGTERM)
        function = "app" if kind == "main" else "hold"
        where = rf"at /.*/app.py:\d+ in {function}"
        server.wait_log(r"did not leave within the kill timeout \(--kill-timeout\); its stacks")
        named = (
            f"no request that is known; its main thread is {where}"
            if kind == "main"
            else rf"GET /hold from 127.0.0.1:\d+ for \d+\.\ds, {where}"
        )
        server.wait_log(rf"ERROR worker 0 is stuck: {named}")
        limit = r"it did not leave within the kill timeout \(--kill-timeout\)"
        server.wait_log(rf"gone: stop; killed, {limit}: {named}")
        with pytest.raises((ConnectionError, EOFError)):
            read_response(victim)
        assert server.wait_exit() == 0


def test_a_request_that_blocks_the_loop_is_shown_while_it_runs(tmp_path: Path, gate: Gate) -> None:
    """Before its timeout, and while its worker drains: a worker that is blocked cannot say so."""
    write_version(tmp_path, 1, "wsgi", HOLD)
    with serving(tmp_path, "app:app", "--timeout", "off", "-n", "shown") as server:
        (idle,) = worker_rows("shown", tmp_path)
        assert (idle["in_flight"], idle["oldest"]) == (0, 0.0)
        victim = send_request(server.port, "/hold")
        gate.wait_entered()

        def is_shown() -> bool:
            old = min(worker_rows("shown", tmp_path), key=lambda row: int(row["generation"]))
            return bool(old["in_flight"] == 1 and old["oldest"] > 0.1)

        wait_for(is_shown, "the running request is shown")
        server.send(signal.SIGHUP)
        server.wait_log("gen 1.* drains: reload")
        assert is_shown()
        gate.open()
        assert read_response(victim) == (200, b"held")
