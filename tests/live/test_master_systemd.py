"""The protocol with a service manager (notifications, sockets), and the listening addresses."""

import os
import re
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tests.live.app_sources import write_version
from tests.live.harness import PATIENCE, Server, command, serving, wait_for
from tests.live.held_requests import Gate, read_response, send_request

ENVIRONMENT = """
import json
def environment():
    return json.dumps(dict(os.environ)).encode()
"""


class Manager:
    """A service manager: the other end of NOTIFY_SOCKET. ``said``: all messages so far."""

    def __init__(self, path: Path) -> None:
        self.said: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._read = 0

    def close(self) -> None:
        self._socket.close()

    def listen(self, timeout: float = 0.0) -> bool:
        """Receive one message, if there is one."""
        self._socket.settimeout(timeout)
        try:
            self.said.append(self._socket.recv(4096).decode())
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
        """Whether a message that matches has come so far."""
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


# Socket activation.

# The work of systemd between fork and exec: sockets at 3 and up, and LISTEN_PID.
ACTIVATE = """
import fcntl, os, sys
count = int(sys.argv[1])
fds = [fcntl.fcntl(int(word), fcntl.F_DUPFD_CLOEXEC, 100) for word in sys.argv[2:2 + count]]
os.closerange(3, 100)
for number, fd in enumerate(fds, 3):
    os.dup2(fd, number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count))
command = sys.argv[2 + count:]
os.execv(command[0], command)
"""


def activation(*sockets: socket.socket) -> list[str]:
    """Return the prefix of a command that is to inherit the sockets."""
    fds = [str(sock.fileno()) for sock in sockets]
    return [sys.executable, "-c", ACTIVATE, str(len(fds)), *fds]


def ask_unix(path: Path) -> bytes:
    """The answer over a unix socket, until the server closes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_inherited_sockets_are_served_and_kept_over_a_reload(tmp_path: Path) -> None:
    write_version(tmp_path, 1, code=ENVIRONMENT)
    path = tmp_path / "given.sock"
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(path))
        unix.listen()
        port = tcp.getsockname()[1]
        # A request before the service runs, which is the purpose of activation.
        early = send_request(port)
        server = Server(
            *("-w", "2", "app:app"),
            cwd=tmp_path,
            prefix=activation(tcp, unix),
            pass_fds=(tcp.fileno(), unix.fileno()),
        )
        stack.callback(server.destroy)
        server.ready(2)
        assert server.port == port
        assert read_response(early)[0] == 200
        assert ask_unix(path).startswith(b"HTTP/1.1 200 OK\r\n")
        write_version(tmp_path, 2, code=ENVIRONMENT)
        server.send(signal.SIGHUP)
        server.wait_all_ready(2, 2)
        status, body = server.get("/environment")
        assert status == 200
        assert b"LISTEN_" not in body
        assert b"\r\n\r\n0002 " in ask_unix(path)
        assert server.stop() == 0
        assert path.exists(), "it is not ours to remove"
        late = send_request(port)  # the service manager still holds the socket
        late.close()


# A process between the service manager and prefork, so that LISTEN_PID is the pid of another.
IN_BETWEEN = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:], close_fds=False))"


@pytest.mark.parametrize("whose", ["ours", "our parent's"])
def test_sockets_are_taken_only_when_they_are_meant_for_this_process(
    tmp_path: Path, whose: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        prefix = activation(given)
        if whose != "ours":
            prefix += [sys.executable, "-c", IN_BETWEEN]
        ended = command(
            *("--print-config", "app:app"), cwd=tmp_path, prefix=prefix, pass_fds=[given.fileno()]
        )
    assert ended.returncode == 0
    expected = '["fd://3"]  # systemd' if whose == "ours" else '["127.0.0.1:8000"]  # default'
    assert f"bind = {expected}" in ended.stdout.splitlines()


# Listening addresses.


def test_a_unix_socket_gets_its_mode(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    binds = ("-b", "unix:private.sock,mode=600", "-b", "unix:group.sock,mode=660")
    server = Server(*binds, "app:app", cwd=tmp_path)
    try:
        server.ready()
        for name, mode in (("private", 0o600), ("group", 0o660)):
            path = tmp_path / f"{name}.sock"
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert ask_unix(path).startswith(b"HTTP/1.1 200 OK\r\n")
        assert server.stop() == 0
        assert list(tmp_path.glob("*.sock")) == []
    finally:
        server.destroy()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_unix_socket_gets_its_owner(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    server = Server("-b", "unix:app.sock,mode=660,owner=65534:1", "app:app", cwd=tmp_path)
    try:
        server.ready()
        status = (tmp_path / "app.sock").stat()
        assert (status.st_uid, status.st_gid) == (65534, 1)
    finally:
        server.destroy()


def listening(server: Server) -> dict[str, int]:
    """Return the TCP ports that the master listens on, by address."""
    found = psutil.Process(server.pid).net_connections("tcp")
    return {c.laddr.ip: c.laddr.port for c in found if c.status == psutil.CONN_LISTEN}


def ask_at(host: str, port: int) -> bytes:
    with socket.create_connection((host, port), PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_every_bind_is_served(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    binds = ("-b", "127.0.0.1:0", "-b", "[::1]:0", "-b", "unix:app.sock")
    server = Server(*binds, "app:app", cwd=tmp_path)
    try:
        server.ready()
        for host, port in listening(server).items():
            assert ask_at(host, port).startswith(b"HTTP/1.1 200 OK\r\n")
        assert set(listening(server)) == {"127.0.0.1", "::1"}
        assert ask_unix(tmp_path / "app.sock").startswith(b"HTTP/1.1 200 OK\r\n")
        assert server.stop() == 0
    finally:
        server.destroy()


def test_a_reload_opens_new_addresses_and_closes_old_ones(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    config = tmp_path / "prefork.toml"
    config.write_text("bind = ['127.0.0.1:0', 'unix:old.sock']\n")
    server = Server("-c", "prefork.toml", "-w", "2", "app:app", cwd=tmp_path)
    try:
        server.ready(2)
        port = server.port
        config.write_text("bind = ['127.0.0.1:0', 'unix:new.sock']\n")
        server.send(signal.SIGHUP)
        server.wait_all_ready(2, 2)
        assert listening(server) == {"127.0.0.1": port}, "what is in both stays open"
        assert ask_unix(tmp_path / "new.sock").startswith(b"HTTP/1.1 200 OK\r\n")
        wait_for(lambda: not (tmp_path / "old.sock").exists(), "the old path is removed")
        assert server.get()[0] == 200

        config.write_text("bind = 'unix:new.sock'\n")
        server.send(signal.SIGHUP)
        server.wait_all_ready(2, 3)
        wait_for(lambda: listening(server) == {}, "the old port is closed")
        with pytest.raises(ConnectionRefusedError):
            ask_at("127.0.0.1", port)
        assert ask_unix(tmp_path / "new.sock").startswith(b"HTTP/1.1 200 OK\r\n")
    finally:
        server.destroy()


@pytest.mark.parametrize("address", ["taken", "unix:a\\u0000b", "a..b:80", "unix:no/such/x.sock"])
def test_a_reload_with_an_address_that_cannot_be_opened_changes_nothing(
    tmp_path: Path, address: str
) -> None:
    write_version(tmp_path, 1)
    config = tmp_path / "prefork.toml"
    config.write_text("bind = '127.0.0.1:0'\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        if address == "taken":
            address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = Server("-c", "prefork.toml", "app:app", cwd=tmp_path)
        try:
            server.ready()
            before = [worker.pid for worker in server.workers()]
            config.write_text(f'bind = ["127.0.0.1:0", "unix:fine.sock", "{address}"]\n')
            server.send(signal.SIGHUP)
            server.wait_log("reload failed, gen 1 serves on")
            assert "bug in prefork" not in server.log
            assert server.get()[0] == 200
            assert [worker.pid for worker in server.workers()] == before
            assert not (tmp_path / "fine.sock").exists(), "what was opened is closed again"
        finally:
            server.destroy()
