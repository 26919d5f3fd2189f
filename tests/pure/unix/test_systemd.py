"""Notifications to the service manager, and the sockets that it passes."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefork.unix.systemd import SystemdNotifier, inherited_descriptors


def test_sockets_of_systemd_for_this_pid_are_inherited() -> None:
    environ = {"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "a:b", "X": "1"}
    assert inherited_descriptors(environ) == {3: "a", 4: "b"}
    assert environ == {"X": "1"}, "a child must not take them for its own"


@pytest.mark.parametrize(
    ("count", "pid"), [("2", "1"), ("2", ""), ("", "me"), ("x", "me"), ("-1", "me"), ("0", "me")]
)
def test_sockets_of_systemd_for_another_pid_are_ignored(count: str, pid: str) -> None:
    environ = {"LISTEN_FDS": count, "LISTEN_PID": str(os.getpid()) if pid == "me" else pid}
    assert inherited_descriptors(environ) == {}
    assert environ == {}


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """Yield a service manager's socket and the value of NOTIFY_SOCKET for it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@prefork-{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("\0" + name[1:] if name.startswith("@") else name)
        heard.settimeout(5)
        yield heard, name


def test_each_notification_is_one_datagram(
    manager: tuple[socket.socket, str],
) -> None:
    heard, name = manager
    environ = {"NOTIFY_SOCKET": name, "HOME": "/"}
    notifier = SystemdNotifier(environ)
    assert environ == {"HOME": "/"}, "workers do not speak for the service"
    notifier.notify_ready()
    assert heard.recv(1000) == b"READY=1"
    notifier.notify_status("bad\0 \ud800\nMAINPID=1")
    assert heard.recv(1000) == rb"STATUS=bad\x00 \ud800\nMAINPID=1"
    notifier.watchdog()
    assert heard.recv(1000) == b"WATCHDOG=1"
    notifier.notify_main_pid(7)
    assert heard.recv(1000) == b"MAINPID=7"
    notifier.notify_stopping(12.5)
    assert heard.recv(1000) == b"STOPPING=1"
    assert heard.recv(1000) == b"EXTEND_TIMEOUT_USEC=17500000"


def test_a_reload_notification_has_the_monotonic_time(manager: tuple[socket.socket, str]) -> None:
    heard, name = manager
    before = time.monotonic_ns() // 1000
    SystemdNotifier({"NOTIFY_SOCKET": name}).notify_reloading()
    word, time_line = heard.recv(1000).decode().split("\n")
    assert word == "RELOADING=1"
    key, _, number = time_line.partition("=")
    assert key == "MONOTONIC_USEC"
    assert before <= int(number) <= time.monotonic_ns() // 1000


def test_without_a_service_manager_nothing_is_sent_and_nothing_fails(tmp_path: Path) -> None:
    SystemdNotifier({}).notify_ready()
    SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).notify_ready()


def test_a_service_manager_that_does_not_read_never_blocks_the_master(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(path)
        notifier = SystemdNotifier({"NOTIFY_SOCKET": path})
        for _ in range(2000):
            notifier.watchdog()


@pytest.mark.parametrize(
    ("usec", "pid", "interval"),
    [
        ("20000000", "", 10.0),
        ("20000000", "me", 10.0),
        ("20000000", "1", None),
        ("0", "", None),
        ("", "", None),
        ("soon", "", None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_asked(
    usec: str, pid: str, interval: float | None
) -> None:
    pid = str(os.getpid()) if pid == "me" else pid
    environ = {"WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    assert SystemdNotifier(environ).watchdog_interval == interval
    assert environ == {}
