"""A master that is killed in the middle of something, under Restart=always: nothing is left."""

import signal
from collections.abc import Callable, Iterator
from http.client import HTTPConnection

import psutil
import pytest

from tests.live.booted_service import PORT, Service, shipped_service, version_at
from tests.live.booted_systemd import Machine, booted, read_all
from tests.live.harness import wait_for


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with booted() as made:
        yield made


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    with shipped_service(machine) as made:
        made.add_to_unit("[Service]\nRestart=always\n")
        yield made


SLOW_IMPORT = """
import os, time
while not os.path.exists("/srv/go"):
    time.sleep(0.01)
"""
"""An import that ends when the file /srv/go is there."""

HOLD = """
import time
def hold():
    while not os.path.exists("/srv/go"):
        time.sleep(0.01)
    return b"held"
def nap():
    time.sleep(0.05)
    return str(os.getpid()).encode()
"""

Clients = list[HTTPConnection]


def connect(service: Service, number: int) -> Clients:
    clients = [HTTPConnection("test") for _ in range(number)]
    for client in clients:
        client.sock = service.machine.connect(PORT)
    return clients


def send(clients: Clients, path: str) -> None:
    for client in clients:
        client.request("GET", path)


def begin_reload(service: Service) -> Clients:
    service.start()
    service.set_version(2, SLOW_IMPORT)
    service.machine.check("systemctl", "reload", "--no-block", service.name)
    wait_for(lambda: "reloading" in service.show("StatusText"), "the reload has begun")
    return []


def begin_scaling(service: Service) -> Clients:
    """Keep all workers busy; the one that is added waits in its import."""
    service.configure("workers = 1\nmax-workers = 4")
    service.set_version(1, HOLD)
    service.start()
    service.set_version(2, SLOW_IMPORT + HOLD)
    clients = connect(service, 8)
    send(clients, "/hold")
    wait_for(lambda: any("scaling from 1" in text for text in service.messages()), "it scales")
    return clients


def begin_handoff(service: Service) -> Clients:
    """Keep both workers busy with connections that they pass to each other."""
    service.set_version(1, HOLD)
    service.start()
    clients = connect(service, 8)
    workers: list[set[bytes]] = [set() for _ in clients]

    def was_one_passed_on() -> bool:
        send(clients, "/nap")
        for client, seen in zip(clients, workers, strict=True):
            seen.add(client.getresponse().read())
        return any(len(seen) > 1 for seen in workers)

    wait_for(was_one_passed_on, "a connection was answered by two workers")
    service.set_version(2)
    send(clients, "/nap")
    return clients


@pytest.mark.parametrize("begin", [begin_reload, begin_scaling, begin_handoff])
def test_a_master_that_is_killed_in_the_middle_leaves_nothing_behind(
    machine: Machine, service: Service, begin: Callable[[Service], Clients]
) -> None:
    machine.run("rm", "-f", "/srv/go")
    clients = begin(service)
    first = machine.main_process(service.name)
    before = [first, *first.children(recursive=True)]
    waiting = [machine.connect(PORT) for _ in range(5)]
    for connection in waiting:
        connection.sendall(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n")
    first.kill()
    machine.write("srv/go", "")
    wait_for(lambda: service.show("NRestarts") == "1", "systemd starts it again")
    wait_for(lambda: service.show("ActiveState") == "active", "it serves again")
    assert version_at(machine) == 2
    wait_for(lambda: not [each for each in before if is_alive(each)], "all of the first are gone")
    second = machine.main_process(service.name)

    def are_all_of_the_second() -> bool:
        found = set(machine.processes("prefork: "))
        return found <= {second, *second.children(recursive=True)}

    wait_for(are_all_of_the_second, "each process belongs to the new master")
    for client in clients:
        client.close()
    answers = read_all(waiting)
    assert all(answer in (b"",) or b" 200 OK" in answer for answer in answers), answers
    assert service.systemctl("reload") == 0
    assert service.systemctl("stop") == 0
    assert machine.processes("prefork: ") == []


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_master_that_hangs_in_a_reload_is_ended_by_the_watchdog(
    machine: Machine, service: Service
) -> None:
    machine.run("rm", "-f", "/srv/go")
    service.add_to_unit("[Service]\nRestart=always\nWatchdogSec=2\n")
    begin_reload(service)
    master = machine.main_process(service.name)
    master.send_signal(signal.SIGSTOP)
    machine.write("srv/go", "")
    wait_for(lambda: service.show("NRestarts") == "1", "systemd notices")
    wait_for(lambda: service.show("ActiveState") == "active", "it serves again")
    assert not master.is_running()
    assert version_at(machine) == 2


def test_a_reload_longer_than_the_watchdogs_time_is_no_hang(
    machine: Machine, service: Service
) -> None:
    machine.run("rm", "-f", "/srv/go")
    service.add_to_unit("[Service]\nRestart=always\nWatchdogSec=1\n")
    begin_reload(service)
    fed = service.show("WatchdogTimestampMonotonic")
    for _ in range(4):
        wait_for(lambda: service.show("WatchdogTimestampMonotonic") != fed, "it feeds the watchdog")  # noqa: B023
        fed = service.show("WatchdogTimestampMonotonic")
    machine.write("srv/go", "")
    wait_for(lambda: version_at(machine) == 2, "the reload ends")
    assert service.show("NRestarts") == "0"
