"""The verbs of the process manager as a user types them, each test in a home of its own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from prefork import Client
from prefork.errors import MachineError
from prefork.unix.registry_entry import RegistryEntry
from prefork.wire.verb import Verb
from prefork.wire.verb_table import PING, PLAN, RELOAD, REOPEN, SCALE
from tests.live.harness import PATIENCE, command_line, serving, wait_for
from tests.live.home import APP, Home, fetch, temporary_home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        yield made


def test_the_tutorial_works_step_by_step(home: Home) -> None:
    """Start, list, scale up and down, reload new code, logs, stop, start again, delete."""
    assert "2/2 ready" in home.run_ok("start", "-w", "2", "-b", "127.0.0.1:0", "web:app")
    assert "running" in home.run_ok("list")
    assert fetch(home.app()) == b"one"
    assert home.run_ok("scale", "web", "+2") == "web: 4 workers\n"
    assert home.run_ok("scale", "web", "1") == "web: 1 worker\n"
    assert [worker["slot"] for worker in home.app()["workers"]] == [0]
    home.write("web.py", APP.format(text="two"))
    assert "reloaded to gen 2" in home.run_ok("reload", "web")
    assert fetch(home.app()) == b"two"
    assert "reloaded to gen 2" in home.run_ok("logs", "web")
    assert home.run_ok("stop", "web") == "web: stopped\n"
    assert home.app()["state"] == "stopped"
    assert "running gen 1" in home.run_ok("start", "web")
    assert home.run_ok("delete", "web") == "web: stopped\nweb: deleted\n"
    assert json.loads(home.run_ok("list", "--json")) == []


def test_a_bad_deploy_fails_with_its_traceback_and_the_old_code_serves(home: Home) -> None:
    home.start()
    home.write("web.py", "raise RuntimeError('no such table')\n")
    output = home.run_failing(102, "reload", "web")
    assert "RuntimeError: no such table" in output
    assert "gen 1 serves on" in output
    app = home.app()
    assert (app["state"], app["generation"]) == ("frozen", 1)
    assert fetch(app) == b"one"
    home.write("web.py", APP.format(text="two"))
    home.run_ok("reload", "web")
    assert fetch(home.app()) == b"two"


def test_an_app_that_cannot_start_is_in_the_list_until_it_is_deleted(home: Home) -> None:
    assert "has no 'nope'" in home.run_failing(102, "start", "-b", "127.0.0.1:0", "web:nope")
    assert home.app()["state"] == "failed"
    home.run_ok("delete", "web")
    assert home.client.apps() == []


def test_a_name_is_taken_while_its_app_runs(home: Home) -> None:
    home.start()
    again = ("start", "--name", "web", "-w", "2", "-b", "127.0.0.1:0", "web:app")
    refused = home.run_failing(100, *again)
    assert "runs already" in refused
    assert "`prefork stop web` and this start for other options" in refused
    assert "runs already" in home.run_failing(100, "start", "web")
    home.run_ok("stop", "web")
    home.run_ok(*again)
    assert home.app()["target"] == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["stop", "wev"], "there is no app 'wev'; did you mean web?"),
        (["scale", "web", "many"], "workers must be a number"),
        (["scale", "web", "-4"], "to stop all of them use stop"),
        (["reload", "/(/"], "is no regular expression"),
        (["start", "--name", "a/b", "web:app"], "the name 'a/b' cannot be used"),
        (["stop"], "APP is missing: names, namespaces, all"),
        (["start", "--worker", "3", "web:app"], "--workers"),
    ],
)
def test_wrong_arguments_are_refused_with_a_hint(
    home: Home, arguments: list[str], expected: str
) -> None:
    home.start()
    assert expected in home.run_failing(100, *arguments)


def test_a_master_that_was_killed_is_dead_and_can_be_started_again(home: Home) -> None:
    home.start()
    pid = home.app()["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: home.app()["state"] == "dead", "it is dead")
    assert "dead" in home.run_ok("list")
    home.run_ok("start", "web")
    assert home.app()["pid"] != pid


def test_the_build_that_serves_is_shown(home: Home) -> None:
    """It is that of the master, and not that of the command."""
    assert (
        home.run("start", "-b", "127.0.0.1:0", "-n", "web", "web:app", PREFORK_PURE="1").returncode
        == 0
    )
    assert home.app()["build"] == "pure Python"
    assert re.search(r"^build +pure Python *$", home.run_ok("show", "web"), re.MULTILINE)
    assert re.search(r"^  version \S+ \(pure Python\)", home.run_ok("report", "web"), re.MULTILINE)
    home.run_ok("start", "-n", "job", "--", "sleep", "1000")
    assert home.app("job")["build"] == ""


def test_a_hung_master_is_listed_and_can_be_killed(home: Home) -> None:
    home.start()
    app = home.app()
    os.kill(app["pid"], signal.SIGSTOP)
    assert json.loads(home.run_ok("list", "--json"))[0]["state"] == "hung"
    listed = home.run_ok("list")
    assert re.search(rf"web +hung +1/1 .* {app['pid']} ", listed)
    assert "web: its master does not answer" in listed
    assert "`prefork stop --force web` ends it" in home.run_failing(111, "stop", "web")
    said = home.run_failing(111, "reload", "web", "--timeout", "0.2")
    assert "did not end within 0.2 s; the master does not answer; `prefork stop --force" in said
    assert home.run_ok("stop", "--force", "web") == "web: stopped\n"
    for worker in app["workers"]:
        wait_for(lambda pid=worker["pid"]: not os.path.exists(f"/proc/{pid}"), "no orphans")


@pytest.mark.parametrize("verb", [RELOAD, SCALE, REOPEN, PLAN], ids=lambda verb: verb.name)
def test_no_verb_waits_for_a_hung_master_for_ever(
    home: Home, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    monkeypatch.setattr("prefork.cli.registry.client.SILENCE", 0.1)
    monkeypatch.setattr("prefork.cli.registry.client.PING_TIMEOUT", 0.1)
    home.start()
    (entry,) = home.client.find("web")
    os.kill(home.app()["pid"], signal.SIGSTOP)
    with pytest.raises(MachineError, match=r"^web: the master does not answer; `prefork stop --fo"):
        home.client.ask(entry, verb, **({"workers": "+1"} if verb is SCALE else {}))


class PingingClient(Client):
    """A client that opens ``gate``, a fifo, when it has pinged twice."""

    gate: Path
    pings = 0

    def ask(self, entry: RegistryEntry, verb: Verb | str, *more: Any, **also: Any) -> Any:
        answer = super().ask(entry, verb, *more, **also)
        if verb is PING:
            self.pings += 1
            if self.pings == 2:
                self.gate.write_text("")
        return answer


def test_a_verb_waits_for_a_silent_master_that_answers_pings(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefork.cli.registry.client.SILENCE", 0.1)
    home.start()
    client = PingingClient(home.home)
    client.gate = home.folder / "gate"
    os.mkfifo(client.gate)
    home.write("web.py", "open('gate').read()\n" + APP.format(text="two"))
    (entry,) = client.find("web")
    assert client.ask(entry, RELOAD)["generation"] == 2
    assert client.pings >= 2


def test_a_hung_master_is_killed_with_its_programs(home: Home) -> None:
    home.write("child.sh", "sleep 1000 & wait")
    home.run_ok("start", "-w", "2", "--ready", "10ms", "--name", "web", "--", "sh", "child.sh")
    master = psutil.Process(home.app()["pid"])

    def sleeping() -> bool:
        titles = [command_line(each) for each in master.children(recursive=True)]
        return titles.count("sleep 1000") == 2

    wait_for(sleeping, "both have a child")
    family = master.children(recursive=True)
    os.kill(home.app()["pid"], signal.SIGSTOP)
    assert home.run_ok("delete", "--force", "web") == "web: stopped\nweb: deleted\n"
    wait_for(lambda: not any(each.is_running() for each in family), "no orphans")
    assert not (home.home / "web").exists()


def test_masters_in_the_foreground_are_listed_while_they_live(home: Home) -> None:
    def names() -> list[str]:
        return [app["name"] for app in home.client.apps()]

    environ = {"PREFORK_HOME": str(home.home)}
    with serving(home.folder, "web:app", env=environ) as first:
        assert names() == ["web"]
        with serving(home.folder, "web:app", env=environ) as second:
            assert names() == ["web", "web-2"]
            home.run_ok("stop", "web-2")
            second.process.wait(PATIENCE)
        assert names() == ["web"]
        assert home.app()["pid"] == first.pid
        home.run_ok("stop", "web")
    assert names() == []


def test_reloads_at_the_same_time_all_get_their_result(home: Home) -> None:
    home.start()
    entry = home.client.find("web")[0]
    with ThreadPoolExecutor() as threads:
        asked = [threads.submit(home.client.ask, entry, "reload", PATIENCE) for _ in range(4)]
        generations = {wish.result()["generation"] for wish in asked}
    assert max(generations) == home.app()["generation"] == 5


def test_events_are_sent_as_they_happen(home: Home) -> None:
    home.start()
    entry = home.client.find("web")[0]
    events = home.client.events(entry)
    home.client.ask(entry, "ping")
    with ThreadPoolExecutor() as threads:
        first = threads.submit(next, events)
        wait_for(lambda: home.client.ask(entry, "scale", workers="+1") and first.done(), "an event")
    assert first.result().details["kind"] in ("Scaled", "WorkerReady")


def test_why_lists_deaths_that_were_not_planned(home: Home) -> None:
    home.start()
    pid = home.app()["workers"][0]["pid"]
    assert home.run_ok("why", "web") == "web: no worker has died\n"
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: home.app()["restarts"] == 1, "it was replaced")
    assert f"worker 0 (pid {pid}, gen 1): killed by a signal (SIGKILL)" in home.run_ok("why", "web")
    home.run_ok("reset", "web")
    assert home.app()["restarts"] == 0


def test_other_users_are_refused(home: Home) -> None:
    home.start()
    folder = home.home / "web"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "control").stat().st_mode & 0o777 == 0o600
    if os.geteuid() != 0:
        pytest.skip("needs another user")
    # The socket is opened to all users here: the master itself checks the user of a client.
    with tempfile.TemporaryDirectory() as elsewhere:
        os.chmod(elsewhere, 0o755)
        moved = Path(elsewhere) / "control"
        os.rename(folder / "control", moved)
        os.chmod(moved, 0o666)
        code = (
            "import os, socket, sys; os.setgid(65534); os.setuid(65534)\n"
            "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
            "print(s.recv(65536).decode())"
        )
        output = subprocess.run(
            [sys.executable, "-c", code, str(moved)], capture_output=True, text=True, check=False
        )
        os.rename(moved, folder / "control")
    assert "this app belongs to user root" in output.stdout, output.stderr


def test_a_client_that_floods_stalls_or_lies_harms_no_other(home: Home) -> None:
    home.start()
    path = str(home.home / "web" / "control")
    flooder, staller, liar = (socket.socket(socket.AF_UNIX) for _ in range(3))
    for client in (flooder, staller, liar):
        client.settimeout(PATIENCE)
        client.connect(path)
    staller.sendall(b'{"verb": "events"')
    liar.sendall(b'{"verb": "show", "arguments": 7}\n')
    assert b"a request is an object" in liar.recv(65536)
    try:
        for _ in range(100):
            flooder.sendall(b"x" * 65536)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert "answers" in home.run_ok("ping")
    for client in (flooder, staller, liar):
        client.close()


def test_a_symlink_in_the_place_of_the_folder_is_not_followed(home: Home) -> None:
    target = home.folder / "elsewhere"
    target.mkdir()
    home.home.mkdir(mode=0o700)
    (home.home / "web").symlink_to(target)
    assert "is not a folder of this user's" in home.run_failing(
        111, "start", "--name", "web", "web:app"
    )
    assert list(target.iterdir()) == []
