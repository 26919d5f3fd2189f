"""When a program is ready, from looks at real processes at times of the test's choice."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from prefork.config import Config
from prefork.config.addresses import TcpAddress
from prefork.config.ready_condition import ReadyCondition
from prefork.master.program_readiness import (
    CHECK_INTERVAL,
    FIRST_INTERVAL,
    LAST_INTERVAL,
    MAX_NAMED,
    Finding,
    ReadinessProbe,
    Surroundings,
)
from prefork.unix.listen_check import SocketTables
from prefork.unix.listeners import Listener
from prefork.unix.process_tree import iter_processes
from tests.live.harness import wait_for

CONFIG = Config(command=("own",), boot_timeout=60.0, min_uptime=1.0)
OWN_SOCKETS = """\
import socket, sys, time
own = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*[sock.getsockname()[1] for sock in own], flush=True)
time.sleep(1000)
"""


@contextmanager
def program(sockets: int, shared: socket.socket) -> Iterator[tuple[int, list[str]]]:
    """Run a program that has the shared socket and listens with so many of its own.

    Its pid, and the addresses of its own.
    """
    with subprocess.Popen(
        [sys.executable, "-c", OWN_SOCKETS, str(sockets)],
        stdout=subprocess.PIPE,
        pass_fds=[shared.fileno()],
        start_new_session=True,
        text=True,
    ) as process:
        assert process.stdout is not None
        ports = process.stdout.readline().split()
        try:
            yield process.pid, [f"127.0.0.1:{port}" for port in ports]
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def listener() -> Iterator[Listener]:
    with socket.create_server(("127.0.0.1", 0)) as shared:
        yield Listener(shared, TcpAddress("127.0.0.1", 0))


def around(pid: int = 0, cpu_seconds: float = 0.0) -> Surroundings:
    """Return what there is; the process ``pid`` with this CPU time."""
    processes = {each.pid: each for each in iter_processes()}
    if pid:
        processes[pid] = replace(processes[pid], cpu_seconds=cpu_seconds)
    return Surroundings(processes, SocketTables())


def test_an_idle_program_that_listens_elsewhere_is_given_up_after_a_sixth(
    listener: Listener,
) -> None:
    with program(1, listener.socket) as (pid, (own,)):
        probe = ReadinessProbe(pid, CONFIG, [listener], 100.0)
        for now, is_final in [(100.0, False), (105.0, False), (109.9, False), (110.0, True)]:
            found = probe.look(now, around(pid))
            assert found.is_final is is_final, now
            assert found.reason.startswith(
                f"the program listens on {own}, and does not accept on the bound {listener}: "
            )


def test_a_program_that_computes_or_starts_processes_is_not_given_up(listener: Listener) -> None:
    """Half of the CPU time of a core is no idling, a hundredth of it is."""
    with program(1, listener.socket) as (pid, _):
        probe = ReadinessProbe(pid, CONFIG, [listener], 100.0)
        for second in range(50):
            assert not probe.look(100.0 + second, around(pid, second / 2)).is_final
        for second in range(50, 59):
            used = 25 + (second - 50) / 100
            assert not probe.look(100.0 + second, around(pid, used)).is_final
        assert probe.look(165.0, around(pid, used)).is_final


def test_a_program_that_listens_nowhere_has_the_whole_boot_timeout(listener: Listener) -> None:
    with program(0, listener.socket) as (pid, _):
        probe = ReadinessProbe(pid, CONFIG, [listener], 100.0)
        for now in (100.0, 120.0, 159.0):
            found = probe.look(now, around(pid))
            assert not found.is_final
            assert found.reason.startswith("the program listens nowhere, and does not accept on")


def test_a_message_names_a_few_addresses(listener: Listener) -> None:
    with program(MAX_NAMED + 2, listener.socket) as (pid, own):
        reason = ReadinessProbe(pid, CONFIG, [listener], 0.0).look(0.0, around()).reason
        assert sum(address in reason for address in own) == MAX_NAMED
        assert " and 2 more, and does not accept" in reason


def test_looks_come_less_often_as_the_program_grows_older(listener: Listener) -> None:
    with program(0, listener.socket) as (pid, _):
        probe = ReadinessProbe(pid, CONFIG, [listener], 100.0)
        assert probe.next_look_at == 100.0
        for age, interval in [(0.0, FIRST_INTERVAL), (2.0, 0.2), (50.0, LAST_INTERVAL)]:
            probe.look(100.0 + age, around())
            assert probe.next_look_at == pytest.approx(100.0 + age + interval)


@pytest.mark.parametrize(
    ("ready", "is_shared", "first_look"),
    [
        ("auto", False, 101.0),
        ("auto", True, 100.0),
        ("after", True, 102.0),
        ("notify", True, None),
        ("connect", False, 100.0),
    ],
)
def test_the_first_look(
    ready: str, is_shared: bool, first_look: float | None, listener: Listener
) -> None:
    condition = ReadyCondition(ready, delay=2.0, address=TcpAddress("127.0.0.1", 1))
    config = replace(CONFIG, ready=condition)
    probe = ReadinessProbe(os.getpid(), config, [listener] if is_shared else [], 100.0)
    assert probe.next_look_at == first_look
    if ready in ("auto", "after") and first_look != 100.0:
        assert probe.look(first_look or 0.0, around()) == Finding(True)


def test_processes_with_the_sockets_are_checked_often_and_what_was_seen_counts(
    listener: Listener,
) -> None:
    """The thread waits for one socket, and later for the other."""
    script = (
        "import socket, sys; one, other = (socket.socket(fileno=int(fd)) for fd in sys.argv[1:])\n"
        "connection, _ = one.accept(); connection.close(); one.close(); other.accept()"
    )
    with socket.create_server(("127.0.0.1", 0)) as second:
        sockets = [listener.socket, second]
        other = Listener(second, TcpAddress("127.0.0.1", 0))
        fds = [each.fileno() for each in sockets]
        words = [sys.executable, "-c", script, *map(str, fds)]
        with subprocess.Popen(words, pass_fds=fds, start_new_session=True) as process:
            try:
                probe = ReadinessProbe(process.pid, CONFIG, [listener, other], 100.0)
                wait_for(lambda: str(listener) not in probe.look(100.0, around()).reason, "one")
                assert probe.next_check_at == pytest.approx(100.0 + CHECK_INTERVAL)
                assert str(other) in probe.check(101.0).reason
                assert probe.next_check_at == pytest.approx(101.0 + CHECK_INTERVAL)
                with socket.create_connection(listener.socket.getsockname()):
                    wait_for(lambda: probe.check(102.0).is_ready, "the other")
            finally:
                process.kill()


def test_connect_looks_for_the_address_and_names_others(listener: Listener) -> None:
    with program(1, listener.socket) as (pid, (own,)):
        host, _, port = own.rpartition(":")
        for wanted, is_ready in [(int(port), True), (1, False)]:
            config = replace(
                CONFIG, ready=ReadyCondition("connect", address=TcpAddress(host, wanted))
            )
            found = ReadinessProbe(pid, config, [listener], 0.0).look(0.0, around())
            assert found.is_ready is is_ready
        assert found.reason.startswith(f"the program listens on {own}")
        assert found.reason.endswith("not on 127.0.0.1:1 (--ready connect)")
