"""``prefork restart``: a reload where that is enough, else a new master, and why."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import serving, wait_for
from tests.live.home import APP, Home, fetch, own_home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with own_home(tmp_path) as made:
        made.write("p.toml", 'app = "web:app"\nbind = "127.0.0.1:0"\nname = "web"\n')
        yield made


def change(home: Home, line: str) -> None:
    """The settings, and the code so that it can be seen who serves."""
    with open(home.folder / "p.toml", "a") as file:
        file.write(line + "\n")
    home.write("web.py", APP.format(text="two"))


def test_where_a_reload_is_enough_it_is_one(home: Home) -> None:
    home.good("start", "p.toml")
    before = home.app()
    change(home, "workers = 2")
    said = home.good("restart", "web")
    assert "web: nothing needs a restart" in said
    assert "web: reloaded to gen 2" in said
    after = home.app()
    assert (after["pid"], after["ready"]) == (before["pid"], 2)
    assert after["listening"] == before["listening"]
    assert fetch(after) == b"two"
    assert "web: stopped\nweb: running gen 1" in home.good("restart", "--stop-first", "web")
    assert home.app()["pid"] != before["pid"]


def test_what_needs_it_is_named_and_taken(home: Home) -> None:
    home.good("start", "p.toml")
    before = home.app()
    change(home, "umask = '077'\nlog-file = 'w.log'\nworkers = 2")
    assert "web: stops and starts: umask, log-file changed\n" in home.good("restart", "web")
    after = home.app()
    assert after["pid"] != before["pid"]
    assert (home.folder / "w.log").exists()
    assert fetch(after) == b"two"
    assert "nothing needs a restart" in home.good("restart", "web")


def test_wrong_settings_stop_nothing(home: Home) -> None:
    home.good("start", "p.toml")
    before = home.app()
    change(home, "log-flie = 'w.log'")
    assert "did you mean log-file?" in home.bad(100, "restart", "web")
    assert home.app()["pid"] == before["pid"]
    assert fetch(home.app()) == b"one"


def test_a_program_with_a_port_of_its_own_is_stopped_first(home: Home) -> None:
    home.good("start", "--name", "jobs", "--ready", "10ms", "--", "sleep", "1000")
    (before,) = [worker["pid"] for worker in home.app("jobs")["workers"]]
    assert "a program without --bind cannot be rolled" in home.good("restart", "jobs")
    assert not os.path.exists(f"/proc/{before}")
    assert home.app("jobs")["ready"] == 1


def test_one_in_the_foreground_is_left_alone(home: Home) -> None:
    with serving(home.folder, "web:app", env={"PREFORK_HOME": str(home.home)}) as server:
        assert "runs in the foreground" in home.bad(100, "restart", "web")
        assert server.get()[0] == 200


def test_what_does_not_run_is_started(home: Home) -> None:
    home.start()
    home.good("stop", "web")
    assert "web: does not run\nweb: running gen 1" in home.good("restart", "web")
    os.kill(home.app()["pid"], signal.SIGKILL)
    wait_for(lambda: home.app()["state"] == "dead", "it is dead")
    assert "running gen 1" in home.good("restart", "web")
