"""``-D``: the command returns when the app is ready, or fails with its traceback."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.live.app_sources import write_version
from tests.live.harness import PATIENCE, command, command_line, wait_for
from tests.live.held_requests import Gate, read_response, send_request


def left_in(folder: Path) -> list[psutil.Process]:
    """Return all processes that were started in this folder, also those that changed theirs."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder):
                found.append(process)
        except psutil.Error:
            pass
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose processes are killed at the end, because a daemon leaves the process group."""
    yield tmp_path
    for process in left_in(tmp_path):
        process.kill()
    wait_for(lambda: not left_in(tmp_path), "the daemon is destroyed")


ARGUMENTS = ("-D", "-p", "x.pid", "--log-file", "x.log", "-b", "127.0.0.1:0", "app:app")


def daemon(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "x.pid").read_text()))


def port(folder: Path) -> int:
    found = re.search(r"listening on 127\.0\.0\.1:(\d+)", (folder / "x.log").read_text())
    assert found is not None
    return int(found[1])


def stop(folder: Path) -> None:
    """Stop the daemon by its pid file, and wait until the file is gone."""
    daemon(folder).terminate()
    wait_for(lambda: not (folder / "x.pid").exists(), "the pid file is removed")
    wait_for(lambda: not left_in(folder), "no process is left")


def test_a_daemon_that_returned_answers_and_is_stopped_by_its_pid_file(folder: Path) -> None:
    write_version(folder, 1)
    ended = command(*ARGUMENTS, "-w", "2", cwd=folder)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    master = daemon(folder)
    assert "prefork: master [app] running gen 1" in command_line(master)
    assert read_response(send_request(port(folder)))[0] == 200
    stop(folder)
    assert "stopped" in (folder / "x.log").read_text()


def test_the_foreground_waits_until_the_app_is_ready(folder: Path) -> None:
    gate = Gate(folder / "gate")
    write_version(folder, 1, code='open("gate").read()')
    codes: list[int] = []
    foreground = threading.Thread(
        target=lambda: codes.append(command(*ARGUMENTS, cwd=folder).returncode)
    )
    foreground.start()
    gate.wait_entered()
    assert codes == []
    gate.open()
    foreground.join(PATIENCE)
    assert codes == [0]
    assert read_response(send_request(port(folder)))[0] == 200
    stop(folder)


def test_a_daemon_lets_go_of_terminal_session_and_output(folder: Path) -> None:
    """``command`` returned, so no process holds its pipes any more."""
    write_version(folder, 1)
    assert command(*ARGUMENTS, cwd=folder).returncode == 0
    master = daemon(folder)
    (worker,) = master.children()
    assert master.terminal() is None
    assert os.getsid(master.pid) not in (os.getsid(0), master.pid), "no leader of a session"
    for process in (master, worker):
        links = [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in range(3)]
        assert links == ["/dev/null", str(folder / "x.log"), str(folder / "x.log")]
    stop(folder)


def test_a_daemon_whose_app_fails_shows_the_traceback_and_leaves_nothing(folder: Path) -> None:
    (folder / "app.py").write_text("raise LookupError('no such luck')\n")
    arguments = [a for a in ARGUMENTS if a not in ("--log-file", "x.log")]
    ended = command(*arguments, cwd=folder)
    assert ended.returncode == 102
    assert "LookupError: no such luck" in ended.stderr
    assert not (folder / "x.pid").exists()
    assert left_in(folder) == []


def test_a_daemon_with_a_log_file_prints_its_failure_on_the_terminal_too(folder: Path) -> None:
    (folder / "app.py").write_text("raise LookupError('no such luck')\n")
    ended = command(*ARGUMENTS, cwd=folder)
    assert ended.returncode == 102
    assert "LookupError: no such luck" in ended.stderr
    assert "LookupError: no such luck" in (folder / "x.log").read_text()
    assert left_in(folder) == []


@pytest.mark.parametrize("what", ["port in use", "already running", "wrong option"])
def test_a_daemon_that_cannot_start_prints_one_line(folder: Path, what: str) -> None:
    write_version(folder, 1)
    arguments, code = list(ARGUMENTS), 111
    with socket.create_server(("127.0.0.1", 0)) as taken:
        if what == "port in use":
            arguments += ["-b", f"127.0.0.1:{taken.getsockname()[1]}"]
        elif what == "already running":
            assert command(*arguments, cwd=folder).returncode == 0
        else:
            arguments, code = [*arguments, "-w", "many"], 100
        ended = command(*arguments, cwd=folder)
    assert ended.returncode == code
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("prefork: ")
    assert (folder / "x.pid").exists() == (what == "already running")
    if what == "already running":
        stop(folder)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM], ids=["KILL", "TERM"])
def test_the_foreground_of_a_daemon_that_never_got_ready_fails(folder: Path, signum: int) -> None:
    gate = Gate(folder / "gate")
    write_version(folder, 1, code='open("gate").read()')
    foreground = subprocess.Popen(
        [sys.executable, "-m", "prefork", *ARGUMENTS], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    try:
        gate.wait_entered()
        daemon(folder).send_signal(signum)
        _, said = foreground.communicate(timeout=PATIENCE)
    finally:
        foreground.kill()
        foreground.communicate()
    assert foreground.returncode not in (0, -signal.SIGKILL)
    if signum == signal.SIGKILL:
        assert said == "prefork: the daemon died before it was ready\n"
    wait_for(lambda: not left_in(folder), "no process is left")


def test_a_daemon_reloads_and_survives_the_end_of_its_terminal(folder: Path) -> None:
    write_version(folder, 1)
    assert command(*ARGUMENTS, cwd=folder).returncode == 0
    write_version(folder, 2)
    daemon(folder).send_signal(signal.SIGHUP)
    wait_for(lambda: "reloaded to gen 2" in (folder / "x.log").read_text(), "reloaded")
    assert wait_for(
        lambda: read_response(send_request(port(folder)))[1].startswith(b"0002 "), "the new code"
    )
    stop(folder)
