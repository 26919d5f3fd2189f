"""One app under a shipped unit in a booted container, as the tests of systemd use it."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.live.app_sources import write_version
from tests.live.booted_systemd import ROOT, Machine
from tests.live.harness import wait_for

PORT = 8000
"""The default port, in the network namespace of the container."""
WWW_DATA, OTHER_USER = 33, 65534


OCCUPY = """
import time
def occupy():
    print("occupied", flush=True)
    time.sleep(1000)
"""
"""Code of an app whose ``GET /occupy`` has no end."""


class Service:
    """The shipped unit of one app in the container; ``name``: of the unit."""

    def __init__(self, machine: Machine, name: str, folder: str, settings: str) -> None:
        self.machine, self.name = machine, name
        self.folder, self.settings = folder, settings
        self.set_version(1)

    def set_version(self, number: int, code: str = "") -> None:
        """Write the app, with code that its import runs."""
        folder = self.machine.root / self.folder
        folder.mkdir(parents=True, exist_ok=True)
        write_version(folder, number, code=code)

    def configure(self, text: str) -> None:
        self.machine.write(self.settings, f"app = 'app:app'\n{text}\n")

    def add_to_unit(self, text: str) -> None:
        """Change the unit as ``systemctl edit`` does."""
        self.machine.write(f"run/systemd/system/{self.name}.d/test.conf", text)
        self.machine.check("systemctl", "daemon-reload")

    def systemctl(self, verb: str) -> int:
        return self.machine.run("systemctl", verb, self.name).returncode

    def start(self) -> None:
        self.machine.check("systemctl", "start", self.name)

    def show(self, name: str) -> str:
        return self.machine.show(self.name, name)

    def messages(self) -> list[str]:
        """Return the text of each record of this start of the unit, oldest first."""
        own = f"_SYSTEMD_INVOCATION_ID={self.show('InvocationID')}"
        return [record["MESSAGE"] for record in self.machine.journal(own)]

    def occupy_workers(self) -> list[socket.socket]:
        """Keep both workers busy until they end; the app has OCCUPY. Return the connections."""
        made = [self.machine.connect(PORT) for _ in range(2)]
        for connection in made:
            connection.sendall(b"GET /occupy HTTP/1.0\r\nHost: test\r\n\r\n")
        wait_for(lambda: self.messages().count("occupied") == 2, "both workers are busy")
        return made

    def remove(self) -> None:
        """Stop the unit and remove what the test wrote, so that the next one begins anew."""
        machine = self.machine
        machine.run("systemctl", "stop", f"{self.name.removesuffix('.service')}.socket", self.name)
        machine.run("systemctl", "clean", "--what=all", self.name)  # the preserved home, the logs
        machine.run("sh", "-c", "rm -rf /run/systemd/system/prefork* /etc/systemd/system/prefork*")
        machine.check("systemctl", "daemon-reload")
        machine.run("systemctl", "reset-failed")


@contextmanager
def shipped_service(machine: Machine) -> Iterator[Service]:
    """Yield the unit prefork.service, not started yet."""
    for name in ("prefork.service", "prefork.socket"):
        machine.write(f"etc/systemd/system/{name}", (ROOT / "conf" / name).read_text())
    made = Service(machine, "prefork.service", "srv/app", "etc/prefork.toml")
    made.configure("workers = 2")
    machine.check("systemctl", "daemon-reload")
    yield made
    made.remove()


def version_of(answer: bytes) -> int:
    """Return the version of the app that answered."""
    return int(answer.partition(b"\r\n\r\n")[2][:4])


def version_at(machine: Machine, port: int = PORT) -> int:
    """Return the version of the app that answers at a port."""
    return version_of(machine.get(port))


def listed(machine: Machine, uid: int = 0) -> list[str]:
    """Return the names of the apps that ``prefork list`` shows to a user."""
    done = machine.run("prefork", "list", "--json", uid=uid, HOME="/nonexistent")
    assert done.returncode == 0, done
    return [app["name"] for app in json.loads(done.stdout)]
