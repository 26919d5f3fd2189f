"""Signals to the master, also many at once, and to the whole process group as from a terminal."""

import os
import re
import signal
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.live.app_sources import ASYNC_HOLD, HOLD, write_version
from tests.live.client_load import client_load
from tests.live.harness import Server, serving, wait_for
from tests.live.held_requests import Gate, read_response, send_request
from tests.live.stopped_processes import has_pending, stop_process


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def barrier(server: Server) -> None:
    """Wait until the master has acted on all signals that were sent before.

    Once it has read them with the first USR1, it acts on them before it reads the second.
    """
    for _ in range(2):
        before = server.count("reopened the logs")
        server.send(signal.SIGUSR1)
        server.wait_log("reopened the logs", before + 1)


def newest(server: Server) -> int:
    """Return the generation that was requested last."""
    return max(
        int(m[1]) for line in server.lines if (m := re.search(r"reloading to gen (\d+)", line))
    )


# Reload.


def test_a_hundred_reloads_at_once_end_at_one_generation(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with (
        serving(tmp_path, "app:app", workers=4) as server,
        client_load(server.port, 4, 4) as clients,
    ):
        write_version(tmp_path, 2)
        for _ in range(100):
            server.send(signal.SIGHUP)
        barrier(server)
        last = newest(server)
        server.wait_log(rf"reloaded to gen {last} ")
        server.wait_all_ready(4, last)
        clients.run_phase("after", 100)
        report = clients.stop()
        assert not report.failures, report
        assert list(report.phase("after").versions) == ["0002"]
        assert newest(server) == last
        server.wait_title(rf"running gen {last}, 4/4 ready$")
        assert server.stop() == 0


def test_a_reload_while_it_starts_ends_at_the_new_generation(tmp_path: Path, gate: Gate) -> None:
    write_version(tmp_path, 1, code='open("gate").read()')
    server = Server("-b", "127.0.0.1:0", "-w", "2", "app:app", cwd=tmp_path)
    try:
        gate.wait_entered()
        write_version(tmp_path, 2)
        server.send(signal.SIGHUP)
        server.wait_log("reloading to gen 2")
        gate.open()
        server.wait_all_ready(2, 2)
        assert server.get()[1].startswith(b"0002 ")
        assert server.stop() == 0
    finally:
        server.destroy()


def test_scaling_during_reloads_loses_no_slot(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with (
        serving(tmp_path, "app:app", workers=3) as server,
        client_load(server.port, 4, 4) as clients,
    ):
        steps = [signal.SIGTTIN, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTTIN, signal.SIGTTOU]
        for done, step in enumerate(steps, 1):
            server.send(signal.SIGHUP)
            server.send(step)
            server.wait_log("scaling from|not scaling: the limit is 1", done)
        barrier(server)
        last = newest(server)
        server.wait_all_ready(4, last)
        server.wait_title(rf"running gen {last}, 4/4 ready$")
        report = clients.stop()
        assert not report.failures, report


# Stop.


@pytest.mark.parametrize("when", ["before ready", "during a reload"])
def test_a_stop_while_workers_boot_is_quick_and_clean(
    tmp_path: Path, gate: Gate, when: str
) -> None:
    """Some workers load the app, and others have just been forked; none misses the signal."""
    wait_in_gate = 'open("gate").read()'
    write_version(tmp_path, 1, code=wait_in_gate if when == "before ready" else "")
    server = Server("-b", "127.0.0.1:0", "-w", "8", "app:app", cwd=tmp_path)
    try:
        if when == "during a reload":
            server.ready(8)
            write_version(tmp_path, 2, code=wait_in_gate)
            server.send(signal.SIGHUP)
            server.wait_log("reloading to gen 2")
        gate.wait_entered()
        server.send(signal.SIGTERM)
        assert server.wait_exit(10) == 0
        assert server.is_gone()
        assert "reloaded" not in server.log
        assert "killed" not in server.log
    finally:
        server.destroy()


def test_a_stop_reaches_a_worker_that_was_forked_this_moment(tmp_path: Path) -> None:
    """The worker is stopped right after its fork, mostly before it handles signals."""
    write_version(tmp_path, 1)
    server = Server("-b", "127.0.0.1:0", "app:app", cwd=tmp_path)
    try:
        (worker,) = wait_for(server.workers, "the worker was forked")
        stop_process(worker)
        server.send(signal.SIGTERM)
        wait_for(lambda: has_pending(worker, signal.SIGTERM), "the stop signal waits for it")
        worker.resume()
        assert server.wait_exit(10) == 0
    finally:
        server.destroy()


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_a_stop_lets_requests_in_flight_finish(tmp_path: Path, gate: Gate, interface: str) -> None:
    write_version(tmp_path, 1, interface, HOLD if interface == "wsgi" else ASYNC_HOLD)
    with serving(tmp_path, "app:app", workers=2) as server:
        held = send_request(server.port, "/hold")
        gate.wait_entered()
        server.send(signal.SIGTERM)
        server.wait_log("stopping")
        gate.open()
        assert read_response(held) == (200, b"held")
        assert server.wait_exit() == 0
        assert server.is_gone()


def test_a_reload_cannot_cancel_a_stop(tmp_path: Path, gate: Gate) -> None:
    write_version(tmp_path, 1, code=HOLD)
    with serving(tmp_path, "app:app", workers=2) as server:
        held = send_request(server.port, "/hold")
        gate.wait_entered()
        server.send(signal.SIGTERM)
        server.wait_log("stopping")
        for signum in (signal.SIGHUP, signal.SIGTTIN, signal.SIGWINCH):
            server.send(signum)
        barrier(server)
        assert "reloading" not in server.log
        assert "scaling" not in server.log
        gate.open()
        assert read_response(held) == (200, b"held")
        assert server.wait_exit() == 0
        assert server.is_gone()


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize(
    "signals",
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT), (signal.SIGQUIT,)],
    ids=["TERM TERM", "INT INT", "QUIT"],
)
def test_a_quick_stop_waits_for_no_request(
    tmp_path: Path, gate: Gate, signals: tuple[int, ...], interface: str
) -> None:
    write_version(tmp_path, 1, interface, HOLD if interface == "wsgi" else ASYNC_HOLD)
    with serving(tmp_path, "app:app", "--timeout", "60s", "--kill-timeout", "60s") as server:
        held = send_request(server.port, "/hold")
        gate.wait_entered()
        for count, signum in enumerate(signals, 1):
            server.send(signum)
            if count < len(signals):
                server.wait_log("drains: stop")
        assert server.wait_exit(10) == 0
        assert server.is_gone()
        with pytest.raises((ConnectionError, EOFError)):
            read_response(held)


def test_a_quick_stop_kills_a_worker_that_does_not_react(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--timeout", "off") as server:
        stop_process(server.workers()[0])
        server.send(signal.SIGQUIT)
        assert server.wait_exit(10) == 0
        assert server.is_gone()


def test_ctrl_c_is_graceful(tmp_path: Path, gate: Gate) -> None:
    """A terminal sends INT to the whole group; workers ignore it."""
    write_version(tmp_path, 1, code=HOLD)
    with serving(tmp_path, "app:app", workers=2) as server:
        held = send_request(server.port, "/hold")
        gate.wait_entered()
        server.send_group(signal.SIGINT)
        server.wait_log("stopping")
        gate.open()
        assert read_response(held) == (200, b"held")
        assert server.wait_exit() == 0
        assert "Traceback" not in server.log
        assert not server.count("gone: (?!stop)")


def test_another_stop_signal_drains_as_well(tmp_path: Path, gate: Gate) -> None:
    write_version(tmp_path, 1, code=HOLD)
    with serving(tmp_path, "app:app", "--stop-signal", "INT", workers=2) as server:
        held = send_request(server.port, "/hold")
        gate.wait_entered()
        for worker in server.workers():
            worker.terminate()  # TERM means nothing to them now
        server.send(signal.SIGTERM)
        server.wait_log("drains: stop", 2)
        gate.open()
        assert read_response(held) == (200, b"held")
        assert server.wait_exit() == 0
        assert not server.count("gone: (?!stop)")


# Scale and drain.


def test_ttin_and_ttou_change_the_number_of_workers_but_never_below_one(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app") as server:
        for done, (signum, workers) in enumerate(
            [
                (signal.SIGTTIN, 2),
                (signal.SIGTTIN, 3),
                (signal.SIGTTOU, 2),
                (signal.SIGTTOU, 1),
                (signal.SIGTTOU, 1),
                (signal.SIGTTIN, 2),
            ],
            1,
        ):
            server.send(signum)
            server.wait_log("scaling from|not scaling: the limit is 1", done)
            server.wait_all_ready(workers, 1)
        server.wait_title("running gen 1, 2/2 ready$")


def test_the_number_of_workers_survives_a_reload(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app") as server:
        server.send(signal.SIGTTIN)
        server.wait_all_ready(2, 1)
        server.send(signal.SIGHUP)
        server.wait_all_ready(2, 2)


@pytest.mark.parametrize("back", [signal.SIGTTIN, signal.SIGHUP], ids=["TTIN", "HUP"])
def test_winch_drains_the_workers_and_keeps_the_master(tmp_path: Path, back: int) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", workers=2) as server:
        server.send(signal.SIGWINCH)
        server.wait_log("gone: scale", 2)
        assert server.workers() == []
        # The sockets are still open, so a request waits until workers are back.
        waiting = send_request(server.port)
        server.send(back)
        assert read_response(waiting)[0] == 200
        assert wait_for(
            lambda: len(server.workers()) == (3 if back == signal.SIGTTIN else 2), "back"
        )
        assert server.stop() == 0


ON_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_a_resized_terminal_drains_no_worker(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    ours, theirs = os.openpty()
    prefix = (sys.executable, "-c", ON_TERMINAL, str(theirs))
    try:
        with serving(tmp_path, "app:app", prefix=prefix, pass_fds=(theirs,)) as server:
            termios.tcsetwinsize(ours, (30, 90))
            barrier(server)
            assert not server.count("draining|drains")
            assert server.get()[0] == 200
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_drained_master_stops(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", workers=2) as server:
        server.send(signal.SIGWINCH)
        server.wait_log("gone: scale", 2)
        assert server.stop() == 0


# Logs, and signals that the master does not handle.


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """A server that logs into a file, with an app that fails at /boom."""
    write_version(tmp_path, 1, code="def boom():\n    raise LookupError('boom')")
    log = tmp_path / "prefork.log"
    server = Server(
        *("-b", "127.0.0.1:0", "--log-file", str(log), "--access-log", "access.log", "app:app"),
        cwd=tmp_path,
    )
    try:
        wait_for(lambda: log.exists() and "running" in log.read_text(), "running")
        yield server, log
    finally:
        server.destroy()


def port_of(log: Path) -> int:
    found = re.search(r"listening on 127\.0\.0\.1:(\d+)", log.read_text())
    assert found is not None
    return int(found[1])


def test_usr1_reopens_the_logs_of_master_and_workers(logged: tuple[Server, Path]) -> None:
    server, log = logged
    access = log.with_name("access.log")
    port = port_of(log)
    assert read_response(send_request(port, "/boom"))[0] == 500
    wait_for(lambda: "/boom" in access.read_text(), "an access line")
    old, old_access = log.with_name("old.log"), access.with_name("old-access.log")
    log.rename(old)
    access.rename(old_access)
    server.send(signal.SIGUSR1)
    wait_for(lambda: log.exists() and "reopened the logs" in log.read_text(), "the new log")

    def fail_again() -> bool:
        assert read_response(send_request(port, "/boom"))[0] == 500
        return "LookupError: boom" in log.read_text()

    wait_for(fail_again, "the worker logs into the new file")
    wait_for(lambda: access.exists() and "/boom" in access.read_text(), "the new access log")
    server.send(signal.SIGTERM)
    assert server.wait_exit() == 0
    assert "stopped" in log.read_text()
    assert "reopened" not in old.read_text()


def test_a_log_that_cannot_be_reopened_goes_on_where_it_was(logged: tuple[Server, Path]) -> None:
    server, log = logged
    moved = log.with_name("moved.log")
    log.rename(moved)
    log.mkdir()
    server.send(signal.SIGUSR1)
    wait_for(lambda: "going on with the old file" in moved.read_text(), "a complaint")
    server.send(signal.SIGTERM)
    assert server.wait_exit() == 0


def test_a_log_on_a_full_disk_goes_to_stderr_line_by_line(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--log-file", "/dev/full") as server:
        assert server.get()[0] == 200
        assert server.stop() == 0
        assert server.count(r"^prefork: cannot write the log: .*No space left on device: stopped$")
        assert not server.count("Traceback")


def test_usr2_is_answered_with_a_warning_only(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app") as server:
        before = [worker.pid for worker in server.workers()]
        server.send(signal.SIGUSR2)
        server.wait_log("USR2: upgrading the master is not supported yet")
        assert server.get()[0] == 200
        assert [worker.pid for worker in server.workers()] == before


@pytest.mark.parametrize("interface", ["wsgi", "asgi", "main"])
@pytest.mark.parametrize("name", ["HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH", "INT", "ALRM"])
def test_a_signal_to_all_workers_at_once_kills_none(
    tmp_path: Path, name: str, interface: str
) -> None:
    """A signal that an operator sends to a whole group reaches the workers, too.

    ALRM is no such signal: it shows that this test can fail.
    """
    with serving(tmp_path, f"prefork.demo:{interface}", workers=2) as server:
        before = {worker.pid for worker in server.workers()}
        for worker in server.workers():
            worker.send_signal(signal.Signals[f"SIG{name}"])
        if name == "ALRM":
            server.wait_log("gone: killed by a signal", 2)
            return
        for _ in range(10):
            assert server.get()[0] == 200
        assert {worker.pid for worker in server.workers()} == before
        assert server.stop() == 0
        assert not server.count("gone: (?!stop)")


def test_signals_to_the_whole_group_take_effect_once_and_kill_no_worker(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with (
        serving(tmp_path, "app:app", workers=2) as server,
        client_load(server.port, 2, 2) as clients,
    ):
        server.send_group(signal.SIGUSR1)
        server.wait_log("reopened the logs")
        server.send_group(signal.SIGUSR2)
        server.wait_log("not supported yet")
        server.send_group(signal.SIGTTIN)
        server.wait_all_ready(3, 1)
        server.send_group(signal.SIGHUP)
        server.wait_all_ready(3, 2)
        server.send_group(signal.SIGWINCH)
        server.wait_log("gone: scale", 3)
        server.send_group(signal.SIGHUP)
        server.wait_all_ready(3, 3)
        report = clients.stop()
        assert not report.failures, report
        assert server.stop() == 0
        assert not server.count("gone: (?!stop|reload|scale)")


def test_a_signal_to_a_booting_worker_is_not_lost_and_kills_no_worker(
    tmp_path: Path, gate: Gate
) -> None:
    """A worker that loads its app has no event loop yet."""
    write_version(tmp_path, 1, code='open("gate").read()')
    server = Server("-b", "127.0.0.1:0", "app:app", cwd=tmp_path)
    try:
        gate.wait_entered()
        (worker,) = server.workers()
        for name in ("HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH", "INT"):
            worker.send_signal(signal.Signals[f"SIG{name}"])
        server.wait_log(r'app.py", line 2 in <module>')  # the stacks that USR2 asks for
        gate.open()
        server.ready()
        assert server.workers() == [psutil.Process(worker.pid)]
    finally:
        server.destroy()
