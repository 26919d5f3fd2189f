"""The protocol with a service manager: notifications, stored sockets, reloads, the journal."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from prefork import Client
from prefork.unix.journal import JOURNAL_SOCKET
from tests.live.app_sources import ENVIRONMENT, write_version
from tests.live.harness import (
    HOME,
    PATIENCE,
    Server,
    command,
    is_alive,
    own_environment,
    serving,
    wait_for,
)
from tests.live.held_requests import Gate, read_response, send_request
from tests.live.socket_activation import activation
from tests.live.stopped_processes import stop_process


class Manager:
    """A service manager: the other end of NOTIFY_SOCKET.

    ``said``: all messages so far. ``stored``: the sockets that came with them.
    """

    def __init__(self, path: Path) -> None:
        self.said: list[str] = []
        self.stored: list[socket.socket] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._read = 0

    def close(self) -> None:
        self._socket.close()
        for each in self.stored:
            each.close()

    def listen(self, timeout: float = 0.0) -> bool:
        """Receive one message, if there is one."""
        self._socket.settimeout(timeout)
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, 4096, 8)
            self.said.append(data.decode())
            self.stored += [socket.socket(fileno=fd) for fd in fds]
        except (BlockingIOError, TimeoutError):
            return False
        return True

    def expect(self, pattern: str) -> str:
        """Return the next message that matches, after the last expected one."""
        deadline = time.monotonic() + PATIENCE
        while True:
            while self._read < len(self.said):
                self._read += 1
                if re.match(pattern, self.said[self._read - 1]):
                    return self.said[self._read - 1]
            if not self.listen(max(0.001, deadline - time.monotonic())):
                raise AssertionError(f"{pattern!r} was not said: {self.said}")

    def has_said(self, pattern: str) -> bool:
        """Return whether a message that matches has come so far."""
        while self.listen():
            pass
        return any(re.match(pattern, message) for message in self.said)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


@pytest.fixture
def told(tmp_path: Path) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(tmp_path / "notify")}


# Notifications.


def test_ready_is_sent_when_the_first_worker_is_ready(
    tmp_path: Path, manager: Manager, told: dict[str, str]
) -> None:
    gate = Gate(tmp_path / "gate")
    write_version(tmp_path, 1, code='open("gate").read()')
    server = Server("-b", "127.0.0.1:0", "app:app", cwd=tmp_path, env=told)
    try:
        gate.wait_entered()
        manager.expect("STATUS=starting gen 1, 0/1 ready")
        assert not manager.has_said("READY")
        gate.open()
        manager.expect("READY=1$")
        assert server.get()[0] == 200
        manager.expect("STATUS=running gen 1, 1/1 ready")
        server.send(signal.SIGTERM)
        manager.expect("STOPPING=1$")
        assert server.wait_exit() == 0
    finally:
        server.destroy()


def test_ready_is_never_sent_for_an_app_that_fails(
    tmp_path: Path, manager: Manager, told: dict[str, str]
) -> None:
    (tmp_path / "app.py").write_text("1 / 0\n")
    server = Server("-b", "127.0.0.1:0", "app:app", cwd=tmp_path, env=told)
    try:
        assert server.wait_exit() == 102
        manager.expect("STOPPING=1$")
        assert not manager.has_said("READY")
    finally:
        server.destroy()


def test_the_entry_of_a_service_stays_when_it_fails_and_goes_when_it_ends(
    tmp_path: Path, manager: Manager, told: dict[str, str]
) -> None:
    """Its service manager starts it again, and its operator asks in between."""
    home = Client(tmp_path / "home")
    environ = {**told, "PREFORK_HOME": str(home.home)}
    (tmp_path / "app.py").write_text("raise LookupError('no such luck')\n")
    for notified in (environ, environ, {"PREFORK_HOME": str(home.home)}):
        server = Server("-b", "127.0.0.1:0", "app:app", cwd=tmp_path, env=notified)
        try:
            assert server.wait_exit() == 102
        finally:
            server.destroy()
        listed = [(app["name"], app["state"], app["exit_code"]) for app in home.apps()]
        assert listed == ([("app", "failed", 102)] if "NOTIFY_SOCKET" in notified else [])
        said = command("why", "app", cwd=tmp_path, env=notified).stdout
        assert ("LookupError: no such luck" in said) == bool(listed)
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", env=environ) as server:
        assert [app["state"] for app in home.apps()] == ["running"]
        server.send(signal.SIGTERM)
        assert server.wait_exit() == 0
        assert home.apps() == []


def break_app(folder: Path) -> None:
    write_version(folder, 2, code="raise LookupError('no such luck')")


def break_file(folder: Path) -> None:
    (folder / "prefork.toml").write_text("workers = 'many'\n")


def change_app(folder: Path) -> None:
    write_version(folder, 2)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (change_app, "running gen 2, 2/2 ready$"),
        (break_app, "reload failed, gen 1, 2/2 ready$"),
        (break_file, "reload failed, gen 1, 2/2 ready$"),
    ],
    ids=["good", "broken app", "broken file"],
)
def test_a_reload_is_announced_with_its_time_and_ends_ready(
    tmp_path: Path, manager: Manager, told: dict[str, str], change: object, status: str
) -> None:
    assert callable(change)
    write_version(tmp_path, 1)
    (tmp_path / "prefork.toml").write_text("")
    with serving(tmp_path, "app:app", "-c", "prefork.toml", workers=2, env=told) as server:
        manager.expect("READY=1$")
        change(tmp_path)
        before = time.monotonic_ns() // 1000
        server.send(signal.SIGHUP)
        said = manager.expect("RELOADING=1\n")
        usec = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", said)
        assert usec is not None
        assert before <= int(usec[1]) <= time.monotonic_ns() // 1000
        manager.expect("READY=1$")
        manager.expect(f"STATUS={status}")


def test_a_wrong_file_before_the_first_worker_is_ready_does_not_make_it_ready(
    tmp_path: Path, manager: Manager, told: dict[str, str]
) -> None:
    gate = Gate(tmp_path / "gate")
    write_version(tmp_path, 1, code='open("gate").read()')
    (tmp_path / "prefork.toml").write_text("bind = '127.0.0.1:0'\n")
    server = Server("-c", "prefork.toml", "app:app", cwd=tmp_path, env=told)
    try:
        gate.wait_entered()
        (tmp_path / "prefork.toml").write_text("workers = 'many'\n")
        server.send(signal.SIGHUP)
        server.wait_log("reload failed.*is wrong")
        assert not manager.has_said("READY")
        gate.open()
        manager.expect("READY=1$")
    finally:
        server.destroy()


def test_no_reload_is_announced_after_a_stop(
    tmp_path: Path, manager: Manager, told: dict[str, str]
) -> None:
    gate = Gate(tmp_path / "gate")
    write_version(tmp_path, 1, code='def hold():\n    open("gate").read()\n    return b"held"')
    with serving(tmp_path, "app:app", env=told) as server:
        held = send_request(server.port, "/hold")
        gate.wait_entered()
        server.send(signal.SIGTERM)
        manager.expect("STOPPING=1$")
        server.send(signal.SIGHUP)
        server.send(signal.SIGUSR1)
        server.wait_log("reopened the logs")
        gate.open()
        assert read_response(held) == (200, b"held")
        assert server.wait_exit() == 0
        assert not manager.has_said("RELOADING")


def test_the_watchdog_is_fed_twice_as_often_as_required(
    tmp_path: Path, manager: Manager, told: dict[str, str]
) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", env={**told, "WATCHDOG_USEC": "2000000"}) as server:
        fed = []
        for _ in range(3):
            manager.expect("WATCHDOG=1$")
            fed.append(time.monotonic())
        gaps = [after - before for before, after in pairwise(fed)]
        assert max(gaps) < 2.0
        assert min(gaps[1:]) > 0.5, "and not much more often"
        assert server.stop() == 0


def test_a_watchdog_of_another_process_is_not_fed(
    tmp_path: Path, manager: Manager, told: dict[str, str]
) -> None:
    write_version(tmp_path, 1)
    watchdog = {"WATCHDOG_USEC": "2000", "WATCHDOG_PID": "1"}
    with serving(tmp_path, "app:app", env={**told, **watchdog}) as server:
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        assert server.stop() == 0
        assert manager.has_said("STOPPING=1")
        assert not manager.has_said("WATCHDOG")


def test_workers_do_not_inherit_the_notify_socket_of_the_service_manager(
    tmp_path: Path, manager: Manager, told: dict[str, str]
) -> None:
    write_version(tmp_path, 1, code=ENVIRONMENT)
    env = {**told, "WATCHDOG_USEC": "60000000", "LISTEN_FDS": "1", "LISTEN_PID": "1"}
    with serving(tmp_path, "app:app", env=env) as server:
        status, body = server.get("/environment")
        assert status == 200
        for name in (*env, "WATCHDOG_PID", "LISTEN_FDNAMES"):
            assert f'"{name}"'.encode() not in body
        assert b'"PREFORK_SLOT": "0"' in body
        assert b'"PREFORK_GENERATION": "1"' in body


def test_the_service_goes_on_when_the_service_manager_is_gone(
    tmp_path: Path, manager: Manager, told: dict[str, str]
) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", env=told) as server:
        manager.expect("READY=1$")
        manager.close()
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        assert server.stop() == 0


def test_a_daemon_announces_its_main_pid(
    tmp_path: Path, manager: Manager, told: dict[str, str]
) -> None:
    write_version(tmp_path, 1)
    arguments = ("-D", "-p", "x.pid", "-b", "127.0.0.1:0", "app:app")
    assert command(*arguments, cwd=tmp_path, env=told).returncode == 0
    pid = int((tmp_path / "x.pid").read_text())
    try:
        manager.expect(f"MAINPID={pid}$")
        manager.expect("READY=1$")
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not (tmp_path / "x.pid").exists(), "it stops")


# The descriptor store.


def test_a_stored_socket_serves_again_after_a_crash_until_bind_changes(
    tmp_path: Path, manager: Manager, told: dict[str, str]
) -> None:
    write_version(tmp_path, 1, code=ENVIRONMENT)
    config = tmp_path / "prefork.toml"
    config.write_text("bind = '127.0.0.1:0'\n")
    told = {**told, "FDSTORE": "8"}
    words = ("-c", "prefork.toml", "app:app")
    with ExitStack() as stack:
        crashed = Server(*words, cwd=tmp_path, env=told)
        stack.callback(crashed.destroy)
        crashed.ready()
        said = manager.expect("FDSTORE=1\nFDPOLL=0\nFDNAME=prefork-")
        name = said.partition("FDNAME=")[2]
        assert b"FDSTORE" not in crashed.get("/environment")[1]
        crashed.send_group(signal.SIGKILL)
        crashed.wait_exit()
        (kept,) = manager.stored
        waiting = send_request(kept.getsockname()[1])
        server = Server(
            *words,
            cwd=tmp_path,
            prefix=activation(kept),
            pass_fds=[kept.fileno()],
            env={**told, "LISTEN_FDNAMES": name},
        )
        stack.callback(server.destroy)
        server.ready()
        assert read_response(waiting)[0] == 200
        assert server.port == crashed.port
        config.write_text("bind = 'unix:app.sock'\n")
        server.send(signal.SIGHUP)
        manager.expect("FDSTORE=1\nFDPOLL=0\nFDNAME=prefork-.*app\\.sock$")
        manager.expect(re.escape(f"FDSTOREREMOVE=1\nFDNAME={name}"))
        assert len(manager.stored) == 2, "each socket was stored once"
        assert server.stop() == 0


def test_workers_of_a_dead_master_leave_new_connections_to_the_next_one(
    tmp_path: Path, manager: Manager, told: dict[str, str]
) -> None:
    """The workers are stopped, so that they notice the connections with the death."""
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", workers=2, env={**told, "FDSTORE": "8"}) as server:
        manager.expect("FDSTORE=1\nFDPOLL=0\nFDNAME=prefork-")
        (kept,) = manager.stored
        workers = server.workers()
        for worker in workers:
            stop_process(worker)
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait(PATIENCE)
        waiting = [send_request(server.port) for _ in range(3)]
        for worker in workers:
            worker.resume()
        wait_for(lambda: not any(map(is_alive, workers)), "the workers have left")
        assert not any(select.select(waiting, [], [], 0)[0])
        kept.settimeout(PATIENCE)
        for client in waiting:
            kept.accept()[0].close()
            client.close()


# Reload by the service manager: ExecReload=prefork reload --master-pid $MAINPID.


def test_a_reload_by_the_pid_of_the_master_waits_and_fails_with_the_reason(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    home = {"PREFORK_HOME": HOME}
    with serving(tmp_path, "app:app", workers=2) as server:
        words = ("reload", "--master-pid", str(server.pid))
        change_app(tmp_path)
        done = command(*words, cwd=tmp_path, env=home)
        assert (done.returncode, done.stderr) == (0, "")
        assert "reloaded to gen 2" in done.stdout
        server.wait_all_ready(2, 2)
        break_app(tmp_path)
        done = command(*words, cwd=tmp_path, env=home)
        assert done.returncode == 102
        assert "LookupError: no such luck" in done.stderr
        assert server.get()[0] == 200
        assert server.stop() == 0
    done = command(*words, cwd=tmp_path, env=home)
    assert done.returncode == 100
    assert f"has a master with pid {server.pid}" in done.stderr


@pytest.mark.parametrize("words", [(), ("web", "--master-pid", "1")])
def test_a_reload_is_by_names_or_by_pid(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = command("reload", *words, cwd=tmp_path, env={"PREFORK_HOME": HOME})
    assert done.returncode == 100
    assert "either the names of apps, or --master-pid" in done.stderr


# The journal.


@pytest.mark.skipif(os.path.exists(JOURNAL_SOCKET), reason="a journal would get the records")
def test_a_stream_to_the_journal_has_priorities_and_no_times(tmp_path: Path) -> None:
    """Without journald's socket the records go to the stream; the app's own lines stay."""
    write_version(tmp_path, 1, code="print('hello')\nimport sys\nprint('oh no', file=sys.stderr)")
    stream, writer = socket.socketpair()
    status = os.fstat(writer.fileno())
    stream.settimeout(PATIENCE)
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "prefork", "-b", "127.0.0.1:0", "--kill-timeout", "x"],
        cwd=tmp_path,
        env={**own_environment(), "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
        stderr=writer,
        stdout=writer,
    )
    with stream, writer:
        assert process.wait(PATIENCE) == 100
        assert re.fullmatch(rb"(<3>[^\n]*\n)+", stream.recv(65536))
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "prefork", "-b", "127.0.0.1:0", "app:app"],
            cwd=tmp_path,
            env={
                **own_environment(),
                "PREFORK_HOME": HOME,
                "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}",
            },
            stderr=writer,
            stdout=writer,
        )
        said = b""
        while b"running, gen 1\n" not in said:
            said += stream.recv(65536)
        break_app(tmp_path)
        process.send_signal(signal.SIGHUP)
        while b"<3>LookupError: no such luck\n" not in said:
            said += stream.recv(65536)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    lines = said.decode().splitlines()
    assert {"hello", "oh no", "<6>running, gen 1"} <= set(lines)
    assert {line[:3] for line in lines if line not in ("hello", "oh no")} <= {"<3>", "<6>"}
