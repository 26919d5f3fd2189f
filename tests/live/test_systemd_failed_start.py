"""A unit whose app does not start, under a real systemd: where its operator finds the reason."""

import re
from collections.abc import Iterator

import pytest

from tests.live.booted_service import WWW_DATA, Service, listed, version_at
from tests.live.booted_systemd import ROOT, Machine, booted
from tests.live.harness import wait_for

PAGE = ROOT / "prefork" / "docs" / "deployment.md"
REASON = "LookupError: no such luck"
COUNTING = "import prefork\nprefork.store().incr('starts')"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with booted() as made:
        yield made


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    """Yield the unit of the page, for an app of this machine."""
    (unit,) = re.findall(r"```ini\n(\[Unit\]\nDescription=mysite\n.*?)```", PAGE.read_text(), re.S)
    unit = unit.replace("/srv/mysite", "/srv/app").replace("mysite.wsgi:application", "app:app")
    machine.write("etc/systemd/system/mysite.service", unit.replace("-w 0 --threads 4", "-w 2"))
    machine.check("mkdir", "-p", "/srv/app/data")
    made = Service(machine, "mysite.service", "srv/app", "etc/mysite.toml")
    machine.check("systemctl", "daemon-reload")
    yield made
    machine.run("systemctl", "stop", made.name)
    machine.run("rm", "-rf", "/run/systemd/system/mysite.service.d", "/run/prefork/mysite")
    machine.check("systemctl", "daemon-reload")
    machine.run("systemctl", "reset-failed")


def why(machine: Machine, uid: int = 0) -> str:
    done = machine.run("prefork", "why", "mysite", uid=uid, HOME="/nonexistent")
    return done.stdout + done.stderr


def test_the_reason_is_known_during_the_restart_loop_and_after_it(
    machine: Machine, service: Service
) -> None:
    # The default, five starts in ten seconds, is never reached where a start takes longer.
    service.add_to_unit("[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=4\n")
    service.start()
    service.set_version(2, "raise LookupError('no such luck')")
    assert service.systemctl("restart") == 1
    wait_for(lambda: service.show("ActiveState") == "failed", "systemd gives up")
    assert REASON in why(machine)
    assert REASON in why(machine, WWW_DATA)
    assert listed(machine) == ["mysite"]
    assert "failed" in machine.check("prefork", "list")
    service.set_version(3)
    machine.check("systemctl", "reset-failed", service.name)
    service.start()
    assert version_at(machine) == 3
    assert listed(machine) == ["mysite"]
    assert REASON in why(machine)
    service.systemctl("stop")
    assert listed(machine) == []


def test_each_moment_of_the_restart_loop_has_the_reason(machine: Machine, service: Service) -> None:
    service.add_to_unit("[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=100ms\n")
    service.set_version(1, "raise LookupError('no such luck')")
    assert service.systemctl("start") == 1
    wait_for(lambda: REASON in why(machine), "the first start has failed")
    seen = set()
    while len(seen) < 2 or int(service.show("NRestarts")) < 5:
        seen.add(service.show("SubState"))
        assert REASON in why(machine), seen


def test_a_unit_that_never_came_to_prefork_names_the_journal(
    machine: Machine, service: Service
) -> None:
    service.add_to_unit("[Service]\nExecStart=\nExecStart=/nonexistent/prefork\nRestart=no\n")
    assert service.systemctl("start") == 1
    assert "journalctl -u mysite tells why it does not" in why(machine)
    assert "journalctl" not in machine.run("prefork", "why", "other").stderr


@pytest.mark.parametrize(
    "more", ["", "StateDirectory=mysite\nEnvironment=PREFORK_STORE=/var/lib/mysite/store"]
)
def test_the_store_of_a_service_outlives_its_restart_and_its_stop(
    machine: Machine, service: Service, more: str
) -> None:
    service.add_to_unit(f"[Service]\n{more}\n")
    service.set_version(1, COUNTING)
    service.start()
    first = int(machine.check("prefork", "store", "mysite", "get", "starts"))
    service.systemctl("restart")
    again = int(machine.check("prefork", "store", "mysite", "get", "starts"))
    service.systemctl("stop")
    service.start()
    last = int(machine.check("prefork", "store", "mysite", "get", "starts"))
    assert (first > 0, again > first, last > again) == (True, True, True), (first, again, last)
