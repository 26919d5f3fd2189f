"""``prefork startup``: the saved apps come back when the machine boots again."""

import json
from collections.abc import Iterator

import pytest

from tests.live.app_sources import write_version
from tests.live.booted_systemd import Machine, booted
from tests.live.harness import wait_for

USER, USER_ID = "www-data", 33


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with booted(target="multi-user.target") as made:
        yield made


class Account:
    """A user of the container, who starts apps in a home of their own."""

    def __init__(self, machine: Machine, uid: int, home: str, port: int) -> None:
        self.machine, self.uid, self.home, self.port = machine, uid, home, port
        self.folder = f"{home}/shop"
        machine.check("mkdir", "-p", self.folder)
        write_version(machine.root / self.folder.lstrip("/"), uid + 1)
        if uid:
            machine.check("chown", "-R", f"{uid}:{uid}", home)

    def run(self, *words: str, code: int = 0) -> str:
        """Run a command in the folder of the app, and return its stdout."""
        done = self.machine.run(
            *("env", f"--chdir={self.folder}", *words),
            uid=self.uid,
            HOME=self.home,
            XDG_RUNTIME_DIR=f"/run/user/{self.uid}",
        )
        assert done.returncode == code, (words, done, self.machine.journal_text())
        return done.stdout

    def version(self) -> int:
        return int(self.machine.get(self.port).partition(b"\r\n\r\n")[2][:4])

    def states(self) -> dict[str, str]:
        """Return the state of each app by its name."""
        found = json.loads(self.run("prefork", "list", "--json"))
        return {app["name"]: app["state"] for app in found}


def test_the_saved_apps_of_root_and_of_a_user_survive_a_reboot(machine: Machine) -> None:
    root = Account(machine, 0, "/root", 8001)
    user = Account(machine, USER_ID, "/var/lib/shop", 8002)
    machine.check("usermod", "--home", user.home, USER)
    for account in (root, user):
        address = f"127.0.0.1:{account.port}"
        account.run("prefork", "start", "-w", "2", "-b", address, "--name", "shop", "app:app")
        account.run("prefork", "start", "--name", "gone", "-b", "127.0.0.1:0", "app:app")
        account.run("prefork", "save")
        account.run("prefork", "delete", "gone")
        account.run("prefork", "scale", "shop", "3")
        account.run("prefork", "save")
    root.run("prefork", "startup")
    machine.check("loginctl", "enable-linger", USER)
    wait_for(lambda: user_manager(machine) == "active", "the manager of the user runs")
    said = user.run("prefork", "startup", "--user")
    assert "to start before you log in: loginctl enable-linger" in said
    machine.reboot()
    for account in (root, user):
        wait_for(lambda account=account: account.states() == {"shop": "running"}, "it is back")  # type: ignore[misc]
        assert account.version() == account.uid + 1
        (app,) = json.loads(account.run("prefork", "list", "--json"))
        assert len(app["workers"]) == 3
    assert machine.show("prefork-resurrect.service", "ActiveState") == "active"
    root.run("systemctl", "reload", "prefork-resurrect.service")
    assert "gen 2" in root.run("prefork", "logs", "shop")
    user.run("systemctl", "--user", "stop", "prefork-resurrect.service")
    assert user.states() == {"shop": "stopped"}
    assert root.states() == {"shop": "running"}, "the apps of others go on"
    root.run("prefork", "unstartup")
    user.run("prefork", "unstartup", "--user")
    machine.reboot()
    for account in (root, user):
        assert account.states() == {"shop": "stopped"}
        account.run("prefork", "resurrect")
        assert account.version() == account.uid + 1
        account.run("prefork", "delete", "all")


def user_manager(machine: Machine) -> str:
    return machine.show(f"user@{USER_ID}.service", "ActiveState")


def test_a_saved_app_that_is_broken_does_not_keep_the_others_down(machine: Machine) -> None:
    root = Account(machine, 0, "/root", 8001)
    for name, port in (("good", 8001), ("bad", 8003)):
        write_version(machine.root / "root/shop", 1)
        (machine.root / f"root/shop/{name}.py").write_text("from app import app\n")
        root.run("prefork", "start", "-b", f"127.0.0.1:{port}", f"{name}:app")
    root.run("prefork", "save")
    root.run("prefork", "startup")
    (machine.root / "root/shop/bad.py").write_text("raise LookupError('no such luck')\n")
    machine.reboot()
    assert machine.show("prefork-resurrect.service", "ActiveState") == "active"
    assert root.states()["good"] == "running"
    assert root.states()["bad"] != "running"
    said = [record["MESSAGE"] for record in machine.journal("--unit=prefork-resurrect.service")]
    assert any("no such luck" in text for text in said), said
    machine.check("systemctl", "stop", "prefork-resurrect.service")
    assert root.states()["good"] == "stopped"
    root.run("prefork", "unstartup")
