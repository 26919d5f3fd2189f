"""The shipped units under a real systemd: start, verbs, reload, socket activation, templates."""

import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.booted_service import (
    OCCUPY,
    OTHER_USER,
    PORT,
    WWW_DATA,
    Service,
    listed,
    shipped_service,
    version_at,
    version_of,
)
from tests.live.booted_systemd import ROOT, Machine, booted, read_all
from tests.live.harness import wait_for


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with booted() as made:
        yield made


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    with shipped_service(machine) as made:
        yield made


def test_the_verbs_reach_the_shipped_unit_by_the_rights_of_their_user(
    machine: Machine, service: Service
) -> None:
    service.start()
    assert version_at(machine) == 1
    home = machine.root / "run/prefork/prefork"
    assert (home.stat().st_uid, home.stat().st_mode & 0o777) == (WWW_DATA, 0o700)
    assert listed(machine) == ["app"]
    assert listed(machine, WWW_DATA) == ["app"]
    assert listed(machine, OTHER_USER) == []
    assert '"state": "ready"' in machine.check("prefork", "show", "--json", "app")
    assert "app: 3 workers" in machine.check("prefork", "scale", "app", "3")
    assert machine.run("prefork", "reload", "app", uid=OTHER_USER, HOME="/tmp").returncode == 100
    service.systemctl("stop")
    assert listed(machine) == []


def test_root_starts_nothing_that_the_home_of_a_service_says(
    machine: Machine, service: Service
) -> None:
    service.start()
    service.add_to_unit("[Service]\nRestart=no\nRuntimeDirectoryPreserve=yes\n")
    machine.main_process(service.name).kill()
    wait_for(lambda: service.show("ActiveState") == "failed", "it is down")
    done = machine.run("prefork", "start", "app", HOME="/root")
    assert done.returncode != 0
    assert "is not a folder of this user's" in done.stderr


def test_a_reload_waits_and_fails_with_the_reason(machine: Machine, service: Service) -> None:
    service.start()
    service.set_version(2)
    assert service.systemctl("reload") == 0
    assert version_at(machine) == 2
    service.set_version(3, "raise LookupError('no such luck')")
    assert service.systemctl("reload") == 1
    assert service.show("ActiveState") == "active"
    assert version_at(machine) == 2
    said = [record["MESSAGE"] for record in machine.journal("--unit=prefork.service")]
    assert any("LookupError: no such luck" in text for text in said)
    service.configure("workers = 'many'")
    assert service.systemctl("reload") == 1
    service.set_version(4)
    service.configure("workers = 2")
    assert service.systemctl("reload") == 0
    assert version_at(machine) == 4


@pytest.mark.parametrize("bind", ["", "bind = '127.0.0.1:8000'"], ids=["default", "the same"])
def test_socket_activation_keeps_clients_waiting_over_a_restart(
    machine: Machine, service: Service, bind: str
) -> None:
    service.configure(f"workers = 2\n{bind}")
    machine.check("systemctl", "start", "prefork.socket")
    assert service.show("ActiveState") == "inactive"
    assert version_at(machine) == 1, "a connection starts the service"
    service.set_version(2)
    machine.check("systemctl", "stop", service.name)
    waiting = [machine.connect(PORT) for _ in range(3)]
    for connection in waiting:
        connection.sendall(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n")
    assert [version_of(answer) for answer in read_all(waiting)] == [2, 2, 2]


def test_a_socket_that_bind_does_not_name_fails_the_service_for_good(
    machine: Machine, service: Service
) -> None:
    service.configure("bind = '127.0.0.1:8001'")
    machine.check("systemctl", "start", "prefork.socket")
    assert service.systemctl("start") == 1
    assert (service.show("ExecMainStatus"), service.show("NRestarts")) == ("100", "0")
    said = [record["MESSAGE"] for record in machine.journal("--unit=prefork.service")]
    both = "systemd passes 127.0.0.1:8000 (fd://3), and bind has 127.0.0.1:8001"
    assert any(both in text for text in said)


def test_the_template_serves_each_instance_from_its_own_place(
    machine: Machine, service: Service
) -> None:
    template = (ROOT / "conf" / "prefork@.service").read_text()
    machine.write("etc/systemd/system/prefork@.service", template)
    machine.check("systemctl", "daemon-reload")
    apps = []
    for number, name in enumerate(("web", "api"), 1):
        app = Service(machine, f"prefork@{name}", f"srv/{name}", f"etc/prefork/{name}.toml")
        machine.check("ln", "-sfn", "/srv/app/.venv", f"/srv/{name}/.venv")
        app.configure(f"bind = '127.0.0.1:{PORT + number}'\nname = '{name}'")
        app.set_version(number)
        apps.append(app)
    try:
        for app in apps:
            app.start()
        assert sorted(listed(machine)) == ["api", "web"]
        assert version_at(machine, PORT + 1) == 1
        apps[0].set_version(7)
        assert apps[0].systemctl("reload") == 0
        assert version_at(machine, PORT + 1) == 7
        assert version_at(machine, PORT + 2) == 2
    finally:
        for app in apps:
            app.systemctl("stop")


def ask(path: Path) -> bytes:
    """Return the whole answer to a GET request on a unix socket of the container."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_the_socket_template_keeps_clients_waiting_over_restarts(
    machine: Machine, service: Service
) -> None:
    for name in ("prefork@.service", "prefork@.socket"):
        machine.write(f"etc/systemd/system/{name}", (ROOT / "conf" / name).read_text())
    machine.check("systemctl", "daemon-reload")
    web = Service(machine, "prefork@web.service", "srv/web", "etc/prefork/web.toml")
    machine.check("ln", "-sfn", "/srv/app/.venv", "/srv/web/.venv")
    web.configure("workers = 2\nname = 'web'")
    path = machine.root / "run/prefork-web.sock"
    machine.check("systemctl", "enable", "--now", "prefork@web.socket")
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (WWW_DATA, 0o660)
    assert web.show("ActiveState") == "inactive"
    assert version_of(ask(path)) == 1, "a connection starts the service"
    web.set_version(2)
    assert web.systemctl("reload") == 0
    assert version_of(ask(path)) == 2
    answers: list[bytes] = []
    for version in (3, 4):
        web.set_version(version)
        with ThreadPoolExecutor(1) as pool:
            restart = pool.submit(web.systemctl, "restart")
            while not restart.done():
                answers.append(ask(path))
            assert restart.result() == 0
    versions = [version_of(answer) for answer in answers]
    assert versions == sorted(versions), "each client got an answer"
    assert version_of(ask(path)) == 4
    machine.check("systemctl", "disable", "--now", "prefork@web.socket")
    assert web.systemctl("stop") == 0
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        ask(path)
    assert machine.ask("systemctl", "is-enabled", "prefork@web.socket") == "disabled"
    web.remove()


def test_two_services_with_one_name_are_told_apart_by_their_homes(
    machine: Machine, service: Service
) -> None:
    unit = (ROOT / "conf" / "prefork.service").read_text()
    machine.write("etc/systemd/system/prefork-two.service", unit)
    service.start()
    service.configure(f"bind = '127.0.0.1:{PORT + 1}'")
    machine.check("systemctl", "start", "prefork-two")
    try:
        assert listed(machine) == ["app", "app"]
        done = machine.run("prefork", "reload", "app")
        assert done.returncode == 100
        assert "/run/prefork/prefork and /run/prefork/prefork-two" in done.stderr
        machine.check("prefork", "reload", "app", PREFORK_HOME="/run/prefork/prefork-two")
    finally:
        machine.run("systemctl", "stop", "prefork-two")


def test_startup_enables_a_unit_of_its_own_and_leaves_others_alone(
    machine: Machine, service: Service
) -> None:
    def enabled(unit: str) -> str:
        return machine.ask("systemctl", "is-enabled", unit)

    foreign = Path(machine.root / "etc/systemd/system/prefork.service")
    before = foreign.read_text()
    assert "wrote " in machine.check("prefork", "startup", HOME="/root")
    assert enabled("prefork-resurrect.service") == "enabled"
    assert machine.run("prefork", "save", HOME="/root").returncode == 0
    machine.check("systemctl", "start", "prefork-resurrect.service")
    assert "removed " in machine.check("prefork", "unstartup", HOME="/root")
    assert not (machine.root / "etc/systemd/system/prefork-resurrect.service").exists()
    assert foreign.read_text() == before
    machine.write(
        "etc/systemd/system/prefork-resurrect.service", "[Service]\nExecStart=/bin/true\n"
    )
    for verb in ("startup", "unstartup"):
        done = machine.run("prefork", verb, HOME="/root")
        assert done.returncode == 100
        assert "was not written by `prefork startup`" in done.stderr


# Ends that are not planned.


def test_a_master_that_is_killed_is_started_again(machine: Machine, service: Service) -> None:
    service.start()
    machine.main_process(service.name).kill()
    wait_for(lambda: service.show("NRestarts") == "1", "systemd starts it again")
    wait_for(lambda: service.show("ActiveState") == "active", "it serves again")
    assert version_at(machine) == 1


def test_a_master_that_hangs_is_ended_by_the_watchdog(machine: Machine, service: Service) -> None:
    service.add_to_unit("[Service]\nWatchdogSec=2\n")
    service.start()
    master = machine.main_process(service.name)
    master.send_signal(signal.SIGSTOP)
    wait_for(lambda: service.show("NRestarts") == "1", "systemd notices")
    wait_for(lambda: service.show("ActiveState") == "active", "it serves again")
    assert not master.is_running()
    assert version_at(machine) == 1


def test_a_stop_during_a_reload_ends_both(machine: Machine, service: Service) -> None:
    service.start()
    service.set_version(2, "import time\ntime.sleep(1000)")
    machine.check("systemctl", "reload", "--no-block", service.name)
    wait_for(lambda: "reloading" in service.show("StatusText"), "the reload has begun")
    machine.check("systemctl", "stop", service.name)
    assert (service.show("ActiveState"), service.show("Result")) == ("inactive", "success")
    assert machine.processes("prefork: ") == []


def test_the_kernels_kill_of_a_worker_leaves_the_service_running(
    machine: Machine, service: Service
) -> None:
    limit = machine.require_memory_limits().format(service.name)
    service.add_to_unit("[Service]\nMemoryMax=300M\nMemorySwapMax=0\n")
    service.set_version(1, "def eat():\n    return b'x' * 2**30")
    service.start()
    assert machine.ask("cat", limit) == str(300 * 2**20)
    master = machine.main_process(service.name)
    victims = machine.processes("prefork: worker")
    assert machine.get(PORT, "/eat") == b"", "the worker died"
    wait_for(lambda: [each for each in victims if not each.is_running()], "it is reaped")
    wait_for(lambda: version_at(machine) == 1, "the others serve, and its heir")
    assert (service.show("ActiveState"), service.show("NRestarts")) == ("active", "0")
    assert machine.main_process(service.name) == master
    assert any(re.match(r"worker \d .* gone: out of memory", text) for text in service.messages())
    assert ": out of memory (SIGKILL)" in machine.check("prefork", "why", "app")


# The journal.

SEND_LARGE = """
import logging
from prefork.observe.journal_log import JournalLog
from prefork.unix.journal import JournalSocket
log = JournalLog(JournalSocket(), 10**7, print, print)
log.put(logging.makeLogRecord({"msg": "large\\n" + "x" * 1000000, "levelno": logging.ERROR}))
assert log.writer.flush() == 0
"""


def test_records_are_entries_of_the_journal_with_fields(machine: Machine, service: Service) -> None:
    service.set_version(1, "print('printed one\\nprinted two', flush=True)")
    service.start()
    unit = f"_SYSTEMD_INVOCATION_ID={service.show('InvocationID')}"
    (ready,) = machine.journal(unit, f"_PID={service.show('MainPID')}", "PREFORK_SLOT=1")
    assert re.fullmatch(r"worker 1 \(pid \d+, gen 1\) ready in [\d.]+s", ready["MESSAGE"])
    assert (ready["PRIORITY"], ready["_TRANSPORT"]) == ("6", "journal")
    assert (ready["PREFORK_APP"], ready["PREFORK_GENERATION"]) == ("app", "1")
    own = machine.journal(unit, "PREFORK_APP=app", "PREFORK_SLOT=0")
    assert len({record["_PID"] for record in own}) == 2, "the worker's own, and the master's"
    printed = machine.journal(unit, "_TRANSPORT=stdout")
    assert sorted(each["MESSAGE"] for each in printed if "printed" in each["MESSAGE"]) == [
        *["printed one"] * 2,
        *["printed two"] * 2,
    ]
    service.set_version(2, "raise LookupError('no such luck')")
    assert service.systemctl("reload") == 1
    errors = machine.journal(unit, "PREFORK_APP=app", "PRIORITY=3")
    failed = [each["MESSAGE"] for each in errors if each["MESSAGE"].startswith("reload failed")]
    assert len(failed) == 1
    assert "\nTraceback (most recent call last):\n" in "\n" + failed[0].partition(": ")[2]
    assert failed[0].endswith("LookupError: no such luck")


def test_journald_takes_a_large_record(machine: Machine) -> None:
    machine.check("python", "-c", SEND_LARGE)
    (record,) = machine.journal("SYSLOG_IDENTIFIER=prefork", "PRIORITY=3", "_COMM=python")
    assert record["MESSAGE"] == "large\n" + "x" * 1_000_000


# The descriptor store.


def test_queued_connections_survive_a_crash_and_requests_in_flight_do_not(
    machine: Machine, service: Service
) -> None:
    service.set_version(1, OCCUPY)
    service.start()
    assert service.show("NFileDescriptorStore") == "1"
    in_flight = service.occupy_workers()
    queued = [machine.connect(PORT) for _ in range(20)]
    for connection in queued:
        connection.sendall(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n")
    machine.main_process(service.name).kill()
    late = [machine.connect(PORT) for _ in range(5)]  # no moment refuses a connection
    for connection in late:
        connection.sendall(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n")
    assert [version_of(answer) for answer in read_all([*queued, *late])] == [1] * 25
    assert read_all(in_flight) == [b""] * 2
    assert service.show("NRestarts") == "1"
    assert service.show("NFileDescriptorStore") == "1", "the same socket"


def test_the_store_follows_bind_and_leaves_activation_alone(
    machine: Machine, service: Service
) -> None:
    service.start()
    service.configure("bind = ['127.0.0.1:8001', 'unix:/run/prefork/prefork/a.sock']")
    assert service.systemctl("reload") == 0
    wait_for(lambda: service.show("NFileDescriptorStore") == "2", "the old one is removed")
    with pytest.raises(ConnectionRefusedError):
        machine.connect(PORT)
    machine.main_process(service.name).kill()
    wait_for(lambda: service.show("NRestarts") == "1", "systemd starts it again")
    wait_for(lambda: service.show("ActiveState") == "active", "it serves again")
    assert version_at(machine, PORT + 1) == 1
    machine.check("systemctl", "stop", service.name)
    service.configure("")
    machine.check("systemctl", "start", "prefork.socket")
    assert version_at(machine) == 1
    assert service.show("NFileDescriptorStore") == "0", "systemd has the socket anyway"
