"""The shipped unit under systemd 253 or later, and its Type=notify-reload."""

import re
from collections.abc import Iterator

import pytest

from tests.live.booted_service import (
    OCCUPY,
    PORT,
    Service,
    shipped_service,
    version_at,
    version_of,
)
from tests.live.booted_systemd import Machine, booted, read_all, require_boot
from tests.live.harness import wait_for
from tests.live.newer_systemd import packages_of_systemd

NOTIFY_RELOAD = "[Service]\nType=notify-reload\nExecReload=\n"

SLOW_IMPORT = """
import os, time
while not os.path.exists("/srv/go"):
    time.sleep(0.01)
"""
"""An import that ends when the file /srv/go is there."""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    require_boot()
    packages = packages_of_systemd(253, tmp_path_factory.mktemp("systemd"))
    with booted(packages=packages) as made:
        assert int(made.ask("systemctl", "--version").split()[1]) >= 253
        made.check("systemctl", "log-level", "debug")
        yield made


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    with shipped_service(machine) as made:
        yield made


def notifications(service: Service) -> list[str]:
    """Return what systemd got from the service since its start, without states and times."""
    found = []
    matches = (f"UNIT={service.name}", "_PID=1", f"INVOCATION_ID={service.show('InvocationID')}")
    for record in service.machine.journal(*matches):
        if match := re.search(r"Got notification message from PID \d+ \((.*)\)", record["MESSAGE"]):
            found.append(re.sub(r"MONOTONIC_USEC=\d+", "MONOTONIC_USEC", match[1]))
    return [text for text in found if re.match("READY|RELOADING|STOPPING", text)]


def test_notify_reload_waits_until_the_new_code_serves(machine: Machine, service: Service) -> None:
    machine.run("rm", "-f", "/srv/go")
    service.add_to_unit(NOTIFY_RELOAD)
    service.start()
    service.set_version(2, SLOW_IMPORT)
    machine.check("systemctl", "reload", "--no-block", service.name)
    wait_for(lambda: "reloading" in service.show("StatusText"), "the reload has begun")
    assert service.show("ActiveState") == "reloading"
    assert version_at(machine) == 1
    machine.write("srv/go", "")
    wait_for(lambda: service.show("ActiveState") == "active", "the reload has ended")
    assert version_at(machine) == 2
    service.set_version(3)
    assert service.systemctl("reload") == 0
    assert version_at(machine) == 3, "systemctl waited for the end"
    reload = ["RELOADING=1, MONOTONIC_USEC", "READY=1"]
    assert notifications(service) == ["READY=1", *reload, *reload]


@pytest.mark.parametrize("what", ["code", "settings"])
def test_notify_reload_cannot_fail_and_the_old_code_goes_on(
    machine: Machine, service: Service, what: str
) -> None:
    service.add_to_unit(NOTIFY_RELOAD)
    service.start()
    if what == "code":
        service.set_version(2, "raise LookupError('no such luck')")
    else:
        service.configure("workers = 'many'")
    assert service.systemctl("reload") == 0, "systemd cannot learn of the failure"
    assert (service.show("ActiveState"), version_at(machine)) == ("active", 1)
    wait_for(lambda: "reload failed" in service.show("StatusText"), "the status says so")
    expected = "LookupError: no such luck" if what == "code" else "workers"
    assert any(expected in text for text in service.messages())
    assert notifications(service) == ["READY=1", "RELOADING=1, MONOTONIC_USEC", "READY=1"]
    service.configure("")
    service.set_version(3)
    assert service.systemctl("reload") == 0
    assert version_at(machine) == 3


def test_a_stop_during_a_reload_by_notify_reload_ends_both(
    machine: Machine, service: Service
) -> None:
    machine.run("rm", "-f", "/srv/go")
    service.add_to_unit(NOTIFY_RELOAD)
    service.start()
    service.set_version(2, SLOW_IMPORT)
    machine.check("systemctl", "reload", "--no-block", service.name)
    wait_for(lambda: "reloading" in service.show("StatusText"), "the reload has begun")
    machine.check("systemctl", "stop", service.name)
    assert (service.show("ActiveState"), service.show("Result")) == ("inactive", "success")
    assert machine.processes("prefork: ") == []


def test_the_unit_as_it_is_shipped_works_with_the_newer_systemd(
    machine: Machine, service: Service
) -> None:
    service.start()
    service.set_version(2)
    assert service.systemctl("reload") == 0
    assert version_at(machine) == 2
    service.set_version(3, "raise LookupError('no such luck')")
    assert service.systemctl("reload") == 1
    service.set_version(4, OCCUPY)
    assert service.systemctl("reload") == 0
    assert service.show("NFileDescriptorStore") == "1"
    in_flight = service.occupy_workers()
    machine.main_process(service.name).kill()
    late = [machine.connect(PORT) for _ in range(5)]  # no moment refuses a connection
    for connection in late:
        connection.sendall(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n")
    assert [version_of(answer) for answer in read_all(late)] == [4] * 5
    assert read_all(in_flight) == [b""] * 2
    assert (service.show("NRestarts"), service.show("NFileDescriptorStore")) == ("1", "1")
