"""``--threads``: which requests wait for a thread, and for how long."""

import contextlib
import os
import select
import signal
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.live.harness import APPS, Server, command, serving, wait_for
from tests.live.held_requests import Gate
from tests.live.raw_client import RawConnection, ask, get, post, tcp


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def threaded(folder: Path, *arguments: str) -> AbstractContextManager[Server]:
    return serving(folder, "threaded:app", "--pythonpath", str(APPS), *arguments)


def answered_connection(stack: ExitStack, server: Server) -> RawConnection:
    """Open a connection that has had an answer: its next request is read at once."""
    wire = stack.enter_context(tcp(server))
    assert wire.send(get("/?known")).answer().body == b"known"
    return wire


def test_a_request_waits_for_a_free_thread(tmp_path: Path, gate: Gate) -> None:
    with threaded(tmp_path, "--threads", "1") as server, ExitStack() as stack:
        held, *waiting = (answered_connection(stack, server) for _ in range(5))
        held.send(get("/hold?gate"))
        gate.wait_entered()
        for number, wire in enumerate(waiting):
            wire.send(get(f"/?{number}"), get("/?next"))
        gate.open()
        assert held.answer().body == b"gate"
        for number, wire in enumerate(waiting):
            assert wire.answer().body == b"%d" % number
            assert wire.answer().body == b"next"
        assert ask(server, get("/threads")).body == b"1"


def test_threads_are_started_when_they_are_needed(tmp_path: Path) -> None:
    gates = [Gate(tmp_path / name) for name in ("one", "two")]
    with threaded(tmp_path, "--threads", "3") as server, ExitStack() as stack:
        wires = [answered_connection(stack, server) for _ in range(3)]
        assert ask(server, get("/threads")).body == b"1"
        for wire, gate in zip(wires, gates, strict=False):
            wire.send(get(f"/hold?{gate.path.name}"))
            gate.wait_entered()
        assert wires[2].send(get("/threads")).answer().body == b"3"
        for gate in gates:
            gate.open()
        assert [wire.answer().body for wire in wires[:2]] == [b"one", b"two"]


def test_beyond_the_queue_there_is_a_503(tmp_path: Path, gate: Gate) -> None:
    arguments = ("--threads", "1", "--threads-queue", "2")
    with threaded(tmp_path, *arguments) as server, ExitStack() as stack:
        held, *waiting = (answered_connection(stack, server) for _ in range(4))
        held.send(get("/hold?gate"))
        gate.wait_entered()
        for wire in waiting:
            wire.send(post("/?waited", b"with a body"))
        (first,), _, _ = select.select([wire.socket for wire in waiting], [], [], 20)
        refused = next(wire for wire in waiting if wire.socket is first)
        answer = refused.answer()
        assert (answer.status, answer.get("retry-after"), answer.closes) == (503, "1", False)
        gate.open()
        for wire in waiting:
            if wire is not refused:
                assert wire.answer().body == b"waited"
        assert held.answer().body == b"gate"
        # The refused connection goes on, and the queue has room again.
        assert refused.send(get("/?again")).answer().body == b"again"
        server.wait_log("all threads are busy and 2 requests wait for one.*--threads-queue")


def test_a_request_whose_client_left_the_queue_is_not_run(tmp_path: Path, gate: Gate) -> None:
    arguments = ("--threads", "1", "--threads-queue", "1", "--body-memory", "1")
    with threaded(tmp_path, *arguments, "-e", f"TMPDIR={tmp_path}") as server, ExitStack() as stack:
        held, leaving, other = (answered_connection(stack, server) for _ in range(3))
        held.send(get("/hold?gate"))
        gate.wait_entered()
        leaving.send(post("/?left", b"x" * 20_000))
        wait_for(lambda: spooled_files(server), "its body is on disk")
        leaving.reset()
        wait_for(lambda: not spooled_files(server), "its body is gone")
        # The withdrawn request does not fill the queue any more.
        other.send(get("/ran"))
        gate.open()
        assert "left" not in other.answer().body.decode().split()


def spooled_files(server: Server) -> list[str]:
    """Return the unnamed files in the server's folder that its worker has open."""
    (worker,) = server.workers()
    found = []
    for fd in Path(f"/proc/{worker.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed a moment ago
            found.append(os.readlink(fd))
    here = str(server.cwd)
    return [name for name in found if name.startswith(here) and name.endswith(" (deleted)")]


def test_waiting_for_a_thread_has_a_deadline(tmp_path: Path, gate: Gate) -> None:
    """It costs one request a 503, and neither other requests nor the worker anything."""
    with threaded(tmp_path, "--threads", "1", "--timeout", "500ms") as server, ExitStack() as stack:
        streaming, waiting = answered_connection(stack, server), answered_connection(stack, server)
        streaming.send(get("/stream?gate"))
        head = streaming.head()
        gate.wait_entered()
        answer = waiting.send(get("/?late")).answer()
        assert (answer.status, answer.get("retry-after")) == (503, "1")
        server.wait_log(r"no answer in time: GET /\?late")
        gate.open()
        assert streaming.body(head) == b"nowthen"
        assert b"late" not in waiting.send(get("/ran")).answer().body
        assert not server.count("gone:|passed its deadline")


TOO_LARGE = 1 << 47
"""Bytes of stack for a thread that no machine has: its start is refused."""


@pytest.mark.parametrize("lifted", [True, False])
def test_threads_that_cannot_be_started_are_tried_again(tmp_path: Path, lifted: bool) -> None:
    """Until then the worker serves with those it has, and drains with them, too."""
    gate, lift = Gate(tmp_path / "gate"), Gate(tmp_path / "lift")
    with threaded(tmp_path, "--threads", "3") as server, ExitStack() as stack:
        lift.wait_entered()
        assert ask(server, get(f"/stack?{TOO_LARGE}")).status == 200
        held, waiting = answered_connection(stack, server), answered_connection(stack, server)
        held.send(get("/hold?gate"))
        gate.wait_entered()
        waiting.send(get("/?waited"))
        server.wait_log("cannot start thread 2 of 3: .*ulimit -u.*serving with 1, and trying again")
        if not lifted:
            gate.open()
            assert held.answer().body == b"gate"
            assert waiting.answer().body == b"waited"
            held.send(get("/?again"), get("/threads"))
            assert [held.answer().body for _ in range(2)] == [b"again", b"1"]
        else:
            lift.open()
            assert waiting.answer().body == b"waited"
            assert waiting.send(get("/threads")).answer().body == b"2"
            server.wait_log("threads can be started again")
            gate.open()
            assert held.answer().body == b"gate"
        assert server.count("cannot start thread") == 1
        assert server.stop() == 0
        assert server.count("Traceback|kill timeout") == 0


def test_a_draining_worker_answers_waiting_requests(tmp_path: Path, gate: Gate) -> None:
    with threaded(tmp_path, "--threads", "1") as server, ExitStack() as stack:
        held, waiting = answered_connection(stack, server), answered_connection(stack, server)
        held.send(get("/hold?gate"))
        gate.wait_entered()
        waiting.send(get("/?waited"))
        server.send(signal.SIGTERM)
        server.wait_log("drains")
        gate.open()
        assert held.answer().body == b"gate"
        assert waiting.answer().body == b"waited"
        assert server.wait_exit() == 0


def test_a_worker_that_cannot_start_a_thread_is_not_ready(tmp_path: Path) -> None:
    """Without a thread it could answer nothing but 503."""
    (tmp_path / "app.py").write_text(
        f"import threading\nthreading.stack_size({TOO_LARGE})\ndef app(environ, start): pass\n"
    )
    arguments = ("-b", "127.0.0.1:0", "--threads", "2", "--interface", "wsgi", "app:app")
    ended = command(*arguments, cwd=tmp_path)
    assert ended.returncode == 111
    assert "cannot start thread 1 of 2: can't start new thread; see the limits" in ended.stderr
