"""``main(listener)``: every form is served, leaves at a stop, and finishes open connections."""

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import APPS, PATIENCE, Server, command_line, serving, wait_for

MAINS = [
    "plain",
    "plain_flag",
    "plain_select",
    "plain_wait",
    "async_await",
    "async_forever",
    "async_accept",
    "own_asyncio",
    "own_uvloop",
    "own_accept",
]
mains = pytest.mark.parametrize("main", MAINS)


class MainConnection:
    """One connection to a main."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        self._file = self._socket.makefile("rwb")

    def send_line(self, line: str) -> None:
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def read_line(self) -> str:
        return self._file.readline().decode().strip()

    def __enter__(self) -> "MainConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()


def ask(server: Server, line: str = "hello") -> dict[str, Any]:
    with MainConnection(server) as connection:
        connection.send_line(line)
        answer: dict[str, Any] = json.loads(connection.read_line())
        assert connection.read_line() == ""
        return answer


def arguments(main: str, *more: str) -> tuple[str, ...]:
    return (f"mains:{main}", "--pythonpath", str(APPS), *more)


@mains
def test_a_main_serves_and_finishes_open_connections_when_it_is_stopped(
    tmp_path: Path, main: str
) -> None:
    with serving(tmp_path, *arguments(main)) as server:
        for number in range(3):
            assert ask(server, f"number {number}")["line"] == f"number {number}"
        with MainConnection(server) as connection:
            connection.send_line("hold")
            assert connection.read_line() == "held"
            server.send(signal.SIGTERM)
            (worker,) = server.workers()
            wait_for(lambda: "draining" in command_line(worker), "the worker drains")
            connection.send_line("late")
            assert json.loads(connection.read_line())["line"] == "late"
        assert server.wait_exit() == 0
        assert not server.count("Traceback|ERROR|killed")


@mains
def test_a_main_without_connections_leaves_at_once(tmp_path: Path, main: str) -> None:
    with serving(tmp_path, *arguments(main), workers=2) as server:
        assert server.stop() == 0
        assert server.count("gone: stop$") == 2
        assert not server.count("Traceback|ERROR|killed")


def test_accept_raises_systemexit_in_a_main_that_never_calls_stopping(tmp_path: Path) -> None:
    with serving(tmp_path, *arguments("plain")) as server:
        assert server.stop() == 0
        assert (tmp_path / "goodbye").read_text() == "left by SystemExit\n"


def test_a_main_knows_which_worker_it_is(tmp_path: Path) -> None:
    more = ("--name", "my-name")
    with serving(tmp_path, *arguments("plain", *more), workers=2) as server:
        pids = {worker.pid for worker in server.workers()}
        slots: dict[int, int] = {}

        def both() -> bool:
            answer = ask(server)
            slot, generation, name = answer["worker"]
            assert (generation, name) == (1, "my-name")
            for name in ("PREFORK_HOME", "PREFORK_PURE"):  # the operator's, see harness.py
                answer["environ"].pop(name, None)
            assert answer["environ"] == {
                "PREFORK_SLOT": str(slot),
                "PREFORK_GENERATION": "1",
                "PREFORK_NAME": "my-name",
            }
            slots[slot] = answer["pid"]
            return len(slots) == 2

        # Held by a third, one of them has to answer; which one is the kernel's choice.
        wait_for(both, "both workers have answered")
        assert sorted(slots) == [0, 1]
        assert set(slots.values()) == pids
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        assert ask(server)["environ"]["PREFORK_GENERATION"] == "2"


def test_a_main_gets_a_listener_for_each_address(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with serving(tmp_path, *arguments("two", "-b", f"unix:{path}")) as server:
        assert ask(server, "by port")["line"] == "by port"
        with socket.socket(socket.AF_UNIX) as client, client.makefile("rwb") as file:
            client.settimeout(PATIENCE)
            client.connect(str(path))
            file.write(b"by path\n")
            file.flush()
            assert json.loads(file.readline())["line"] == "by path"
        assert server.stop() == 0


def test_a_main_with_ready_manual_is_ready_when_it_calls_ready(tmp_path: Path) -> None:
    server = Server("-b", "127.0.0.1:0", *arguments("manual", "--ready", "manual"), cwd=tmp_path)
    try:
        wait_for((tmp_path / "begun").exists, "main has begun")
        with MainConnection(server) as connection:
            connection.send_line("early")
            assert "ready in" not in server.log
            (tmp_path / "go").touch()
            assert json.loads(connection.read_line())["line"] == "early"
        server.ready()
        assert server.stop() == 0
    finally:
        server.destroy()


def test_a_main_that_never_calls_ready_fails_to_boot(tmp_path: Path) -> None:
    more = ("--ready", "manual", "--boot-timeout", "300ms")
    server = Server("-b", "127.0.0.1:0", *arguments("plain_flag", *more), cwd=tmp_path)
    try:
        assert server.wait_exit() == 102
        assert "not ready in time" in server.log
        assert "worker 0: not ready within --boot-timeout 0.3s: it is at " in server.log
    finally:
        server.destroy()
