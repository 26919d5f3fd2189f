"""The restrictions of the shipped unit, and those that it offers: prefork works under them."""

import re
import shutil
from collections.abc import Iterator

import pytest

from tests.live.booted_service import PORT, Service, shipped_service, version_at
from tests.live.booted_systemd import Machine, booted
from tests.live.harness import wait_for

STORE = """
import prefork
def count():
    return str(prefork.store().incr("n")).encode()
def spool():
    import tempfile
    with tempfile.TemporaryFile() as file:
        return str(file.write(b"x" * 100)).encode()
"""

OFFERED = """\
[Service]
MemoryDenyWriteExecute=yes
SystemCallFilter=~@resources
SystemCallErrorNumber=EPERM
"""
"""The settings that comments of the unit offer."""

DYNAMIC = "[Service]\nUser=\nGroup=\nDynamicUser=yes\n"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with booted() as made:
        yield made


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    with shipped_service(machine) as made:
        yield made


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("more", ["", OFFERED, DYNAMIC, OFFERED + DYNAMIC])
def test_all_that_an_app_uses_works_in_the_unit(
    machine: Machine, service: Service, more: str
) -> None:
    service.add_to_unit(more)
    service.configure(
        "workers = 2\nthreads = 2\nlog-dir = '/var/log/prefork'\nlog-rotate-size = '1k'\n"
        "access-log = '/var/log/prefork/access.log'"
    )
    service.set_version(1, STORE + "print('x' * 2000)\n")
    service.start()
    assert body(machine.get(PORT, "/count")) == b"1"
    assert body(machine.get(PORT, "/spool")) == b"100"
    service.set_version(2, STORE)
    assert service.systemctl("reload") == 0
    assert version_at(machine) == 2
    assert body(machine.get(PORT, "/count")) == b"2", "the store outlives the reload"
    machine.check("prefork", "scale", "app", "3")
    machine.check("prefork", "show", "app")
    service.set_version(3, "raise LookupError('no such luck')")
    assert service.systemctl("reload") == 1
    assert any("LookupError: no such luck" in text for text in service.messages())
    wait_for(
        lambda: "GET /count" in machine.ask("cat", "/var/log/prefork/access.log"), "it is logged"
    )
    wait_for(lambda: ".gz" in machine.ask("ls", "/var/log/prefork/"), "rotated logs are compressed")
    assert service.systemctl("stop") == 0
    said = service.messages()
    assert not [text for text in said if "permitted" in text or "denied" in text], said


NODE = """\
const http = require('http');
http.createServer((req, res) => res.end(`0001 ${process.pid}`)).listen(3000);
"""


def test_a_node_server_runs_in_the_unit(machine: Machine, service: Service) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not on this machine")
    machine.write("srv/app/server.js", NODE)
    settings = "command = ['node', 'server.js']\nworkers = 2\nbind = ['127.0.0.1:8000']\n"
    machine.write("etc/prefork.toml", settings)
    service.start()
    assert version_at(machine) == 1
    machine.write("srv/app/server.js", NODE.replace("0001", "0002"))
    assert service.systemctl("reload") == 0
    assert version_at(machine) == 2
    assert "on, in Node" in machine.check("prefork", "show", "server")


def test_the_unit_is_as_safe_as_systemd_can_tell(machine: Machine, service: Service) -> None:
    """The exposure that systemd-analyze computes; lower is better, and 2.0 is its word OK."""
    said = machine.ask("systemd-analyze", "security", "--no-pager", service.name)
    found = re.search(r"exposure level for prefork.service: ([\d.]+)", said)
    assert found is not None, said
    assert float(found[1]) <= 2.0, said
