"""Threads and other background work of an app: what a worker waits for at its end."""

import signal
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.live.harness import APPS, Server, serving, wait_for
from tests.live.held_requests import Gate, read_response, send_request

KINDS = {
    "wsgi": ("leftovers:wsgi",),
    "threads": ("leftovers:wsgi", "--threads", "2"),
    "asgi": ("leftovers:asgi",),
    "main": ("leftovers:main", "--interface", "socket"),
    "lifespan": ("leftovers:asgi_with_lifespan",),
}
every_kind = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "lifespan"])
WAITS = r"worker 0 answered all requests and waits up to the kill timeout \(\d+s\) for: "


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def start(
    kind: str, folder: Path, *arguments: str, workers: int = 1
) -> AbstractContextManager[Server]:
    app, *own = KINDS[kind]
    return serving(folder, app, "--pythonpath", str(APPS), *own, *arguments, workers=workers)


def call(server: Server, name: str) -> None:
    assert read_response(send_request(server.port, f"/{name}", "Connection: close\r\n")) == (
        200,
        b"ok",
    )


def done(folder: Path) -> list[str]:
    file = folder / "done"
    return file.read_text().split() if file.exists() else []


@every_kind
@pytest.mark.parametrize("what", ["thread", "timer", "executor", "busy"])
def test_a_stop_waits_for_background_work_of_the_app(
    tmp_path: Path, gate: Gate, kind: str, what: str
) -> None:
    """The log says what the worker waits for, and where that is. Exit handlers run after it, as at
    any Python exit."""
    with start(kind, tmp_path) as server:
        call(server, what)
        gate.wait_entered()
        server.send(signal.SIGTERM)
        named = r"1 x prefork.busy\(\)" if what == "busy" else r".* \(.*leftovers.py:\d+ in _work\)"
        server.wait_log(WAITS + named)
        gate.open()
        assert server.wait_exit() == 0
        assert done(tmp_path) == [what, "atexit"]


def test_a_task_of_an_async_app_is_waited_for(tmp_path: Path, gate: Gate) -> None:
    with start("asgi", tmp_path) as server:
        call(server, "task")
        gate.wait_entered()
        server.send(signal.SIGTERM)
        server.wait_log(WAITS + r"1 x prefork.busy\(\)")
        gate.open()
        assert server.wait_exit() == 0
        assert done(tmp_path) == ["task", "atexit"]


def test_a_lifespan_ends_after_marked_work_and_before_the_kill_timeout(
    tmp_path: Path, gate: Gate
) -> None:
    with start("lifespan", tmp_path) as server:
        call(server, "busy")
        gate.wait_entered()
        server.send(signal.SIGTERM)
        server.wait_log(WAITS)
        gate.open()
        assert server.wait_exit() == 0
        assert done(tmp_path) == ["busy", "shutdown", "atexit"]


def test_marked_work_without_an_end_leaves_the_lifespan_its_time(
    tmp_path: Path, gate: Gate
) -> None:
    with start("lifespan", tmp_path, "--kill-timeout", "4s") as server:
        call(server, "busy")
        gate.wait_entered()
        assert server.stop() == 0
        server.wait_log("killed, it did not leave within the kill timeout")
        assert done(tmp_path) == ["shutdown"]
        gate.open()


@every_kind
@pytest.mark.parametrize("what", ["nothing", "daemon"])
def test_nothing_else_delays_a_stop_or_is_logged(
    tmp_path: Path, gate: Gate, kind: str, what: str
) -> None:
    with start(kind, tmp_path) as server:
        call(server, what)
        if what == "daemon":
            gate.wait_entered()
        assert server.stop() == 0
        assert done(tmp_path) == ["atexit"]
        assert server.count("waits up to") == 0


@every_kind
def test_a_thread_without_an_end_costs_the_kill_timeout(tmp_path: Path, kind: str) -> None:
    with start(kind, tmp_path, "--kill-timeout", "1s") as server:
        call(server, "endless")
        assert server.stop() == 0
        server.wait_log("killed, it did not leave within the kill timeout")
        server.wait_log(WAITS)


@every_kind
def test_a_quick_stop_waits_for_nothing(tmp_path: Path, gate: Gate, kind: str) -> None:
    with start(kind, tmp_path) as server:
        call(server, "thread")
        gate.wait_entered()
        server.send(signal.SIGTERM)
        server.wait_log(WAITS)
        server.send(signal.SIGTERM)
        assert server.wait_exit() == 0
        assert done(tmp_path) == []
        gate.open()


@every_kind
def test_a_roll_does_not_wait_for_workers_that_wait_for_their_threads(
    tmp_path: Path, kind: str
) -> None:
    """Otherwise the roll would take the kill timeout for each of them."""
    with start(kind, tmp_path, "--kill-timeout", "60s", workers=4) as server:
        old = server.workers()
        while not all(worker.num_threads() > threads(kind) for worker in old):
            call(server, "endless")
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        wait_for(lambda: len(server.workers()) == 8, "four serve, four wait")
        server.send(signal.SIGQUIT)
        assert server.wait_exit() == 0


def threads(kind: str) -> int:
    """Return how many threads a worker has that serves and has none of the app's."""
    return {"threads": 4}.get(kind, 2)


@every_kind
def test_a_recycling_waits_for_work_that_is_marked(tmp_path: Path, gate: Gate, kind: str) -> None:
    """The worker serves meanwhile."""
    with start(kind, tmp_path, "--max-lifetime", "100ms") as server:
        call(server, "busy")
        gate.wait_entered()
        server.wait_log(r"is worn \(.*max-lifetime\) and serves on until prefork.busy\(\) is over")
        (worker,) = server.workers()
        call(server, "nothing")
        assert server.workers() == [worker]
        assert server.count("recycled") == 0
        gate.open()
        server.wait_log(r"gone: recycled")
        assert done(tmp_path)[0] == "busy"
