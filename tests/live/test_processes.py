"""Processes that an app starts: a forked child does not act as a worker, and a subprocess finds its
signals as any program expects them."""

import json
import os
import signal
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.live.harness import APPS, PATIENCE, Server, serving, wait_for
from tests.live.held_requests import Gate, read_response, send_request

KINDS = {
    "wsgi": ("processes:wsgi",),
    "generator": ("processes:generator",),
    "threads": ("processes:wsgi", "--threads", "2"),
    "asgi": ("processes:asgi",),
    "asgi later": ("processes:asgi",),
    "asgi thread": ("processes:asgi",),
    "main": ("processes:main",),
    "async main": ("processes:async_main",),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def start(kind: str, folder: Path, *arguments: str) -> AbstractContextManager[Server]:
    app, *own = KINDS[kind]
    interface = "socket" if "main" in kind else kind.partition(" ")[0]
    interface = {"generator": "wsgi", "threads": "wsgi"}.get(interface, interface)
    return serving(
        folder, app, "--pythonpath", str(APPS), "--interface", interface, *own, *arguments
    )


def call(server: Server, kind: str, name: str) -> str:
    """Send one request on a connection of its own and return the body of the response."""
    how = {"asgi later": "?later", "asgi thread": "?thread"}.get(kind, "")
    status, body = read_response(
        send_request(server.port, f"/{name}{how}", "Connection: close\r\n")
    )
    assert status == 200
    return body.decode()


def is_the_same_worker(server: Server, pid: int) -> bool:
    """Return whether the worker of the beginning serves and no other process runs beside it."""
    return [worker.pid for worker in server.workers()] == [pid]


# Forked children.


@every_kind
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pool", "[1, 4, 9]"),
        ("executor", "[1, 4, 9]"),
        ("terminate", "-15"),
        ("terminate_at_once", "{-15}"),
    ],
)
def test_multiprocessing_ends_its_children_and_not_the_worker(
    tmp_path: Path, kind: str, name: str, expected: str
) -> None:
    with start(kind, tmp_path) as server:
        (worker,) = server.workers()
        for _ in range(3):
            assert call(server, kind, name) == expected
        assert is_the_same_worker(server, worker.pid)
        assert server.count("drains|gone") == 0
        assert server.stop() == 0
        assert server.count("kill timeout") == 0
        assert server.is_gone()


@pytest.mark.parametrize("kind", ["wsgi", "asgi", "main"])
def test_a_handler_of_the_app_that_calls_that_of_the_worker_ends_a_child_too(
    tmp_path: Path, kind: str
) -> None:
    with start(kind, tmp_path) as server:
        (worker,) = server.workers()
        assert call(server, kind, "chained") == "-15"
        assert call(server, kind, "pid") == str(worker.pid)
        assert server.count("drains|gone") == 0
        assert server.stop() == 0


@every_kind
def test_a_daemon_child_is_ended_by_a_stop(tmp_path: Path, kind: str) -> None:
    with start(kind, tmp_path) as server:
        assert call(server, kind, "daemon") == "started"
        assert server.stop() == 0
        assert server.count("kill timeout") == 0
        assert server.is_gone()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "main"])
@pytest.mark.parametrize(("name", "expected"), [("returns", "0"), ("exits", "3"), ("raises", "1")])
def test_a_child_that_leaves_the_call_ends_and_answers_nothing(
    tmp_path: Path, kind: str, name: str, expected: str
) -> None:
    with start(kind, tmp_path) as server:
        (worker,) = server.workers()
        if kind == "async main" and name == "raises":
            expected = "0"  # asyncio reports an error in a task of the app by itself
        for _ in range(3):
            assert call(server, kind, name) == expected
        assert is_the_same_worker(server, worker.pid)
        assert server.count("the app failed") == 0
        if expected == "1":
            server.wait_log("ValueError: in the child", 3)
        assert server.stop() == 0
        assert server.is_gone()


def test_a_child_that_returns_from_main_ends_and_the_worker_serves_on(tmp_path: Path) -> None:
    arguments = ("--pythonpath", str(APPS), "--interface", "socket")
    with serving(tmp_path, "processes:returning", *arguments) as server:
        (worker,) = server.workers()
        for name, code in (("returns", "0"), ("raises", "1"), ("exits", "3")):
            # The connection is main's own: its child may answer on it, as a forking server's does.
            assert code in call_main(server, name)
        assert is_the_same_worker(server, worker.pid)
        assert server.count("returned although") == 0


def call_main(server: Server, name: str) -> str:
    with send_request(server.port, f"/{name}") as connection:
        data = b""
        while piece := connection.recv(65536):
            data += piece
    return data.decode()


def test_a_child_of_main_accepts_nothing(tmp_path: Path) -> None:
    """Its next accept() ends it, as a stop ends a worker."""
    arguments = ("--pythonpath", str(APPS), "--interface", "socket")
    with serving(tmp_path, "processes:main", *arguments) as server:
        (worker,) = server.workers()
        assert "0" in call_main(server, "returns")
        for _ in range(10):
            assert call_main(server, "pid").endswith(str(worker.pid))
        assert server.count("is gone|gone:") == 0


def test_an_asgi_call_that_waits_in_a_child_ends_it(tmp_path: Path) -> None:
    """Its loop belongs to the worker, and would do the work of other requests once more."""
    with start("asgi", tmp_path) as server:
        (worker,) = server.workers()
        status, body = read_response(send_request(server.port, "/returns?suspends"))
        assert (status, body) == (200, b"0")
        assert is_the_same_worker(server, worker.pid)


@every_kind
def test_a_connection_ends_although_a_child_lives(tmp_path: Path, kind: str) -> None:
    """Descriptors that the child inherited would keep the client waiting for the end."""
    if kind == "main":
        pytest.skip("connections that a main accepted stay open in its children")
    gate = Gate(tmp_path / "gate")
    with start(kind, tmp_path) as server:
        idle = server.connect() if kind != "async main" else None  # which would wait for it
        assert call(server, kind, "lingers") == "left a child behind"
        gate.wait_entered()
        assert call(server, kind, "pid") == str(server.workers()[0].pid)
        server.send(signal.SIGTERM)
        # Not wait_exit, which also waits for the end of the log, and the child holds its pipe.
        assert server.process.wait(PATIENCE) == 0
        if idle is not None:
            assert idle.recv(1) == b""
            idle.close()
        # No process listens any more, although the child still lives.
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        gate.open()
        wait_for(server.is_gone, "the child ends")


@every_kind
def test_a_child_finds_default_signals_and_nothing_of_the_workers(
    tmp_path: Path, kind: str
) -> None:
    with start(kind, tmp_path) as server:
        (worker,) = server.workers()
        found = json.loads(call(server, kind, "state"))
        handled = int(found["signals"]["SigCgt"], 16)
        for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
            assert not handled & 1 << signum - 1
        assert not handled & 1 << signal.SIGUSR2 - 1
        assert int(found["signals"]["SigBlk"], 16) == 0
        assert found["stop"] is False
        ours = {f"/proc/{server.pid}/fd", f"/proc/{worker.pid}/fd"}
        assert not shared_pipes(found["files"], server.pid), ours
        assert read_response(send_request(server.port, "/pid"))[1] == b"%d" % worker.pid


def shared_pipes(files: list[str], master: int) -> set[str]:
    """Return the pipes and sockets of the child that the master has as well, except for its stdout
    and stderr."""
    theirs = set()
    for fd in Path(f"/proc/{master}/fd").iterdir():
        if int(fd.name) > 2:
            theirs.add(os.readlink(fd))
    own = {os.readlink(f"/proc/{master}/fd/{fd}") for fd in range(3)}
    return {name for name in files if name.startswith(("pipe", "socket"))} & theirs - own


# Subprocesses.

MASTERS = (signal.SIGHUP, signal.SIGINT, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH)


@pytest.mark.parametrize("kind", ["wsgi", "threads", "asgi", "asgi thread", "main", "async main"])
def test_a_subprocess_ignores_and_blocks_no_signal(tmp_path: Path, kind: str) -> None:
    with start(kind, tmp_path) as server:
        found = json.loads(call(server, kind, "subprocesses"))
    for how, lines in found.items():
        words = [word.strip("[]',") for word in lines.split() if not word.startswith("Sig")]
        blocked, ignored = (int(word, 16) for word in words)
        assert blocked == 0, how
        assert not [s for s in MASTERS if ignored & 1 << s - 1], how


@every_kind
def test_signals_to_the_whole_group_end_no_worker(tmp_path: Path, kind: str) -> None:
    with start(kind, tmp_path) as server:
        (worker,) = server.workers()
        for signum in MASTERS:
            for _ in range(10):
                os.kill(worker.pid, signum)
                assert call(server, kind, "pid") == str(worker.pid)
        assert is_the_same_worker(server, worker.pid)
