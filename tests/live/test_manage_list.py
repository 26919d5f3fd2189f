"""``prefork list``: its order, and ``--watch``, which draws it again and again."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import PATIENCE, wait_for
from tests.live.home import Home, temporary_home
from tests.live.terminal import on_terminal


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        yield made


def names(home: Home, *arguments: str) -> list[str]:
    table = [app["name"] for app in json.loads(home.run_ok("list", "--json", *arguments))]
    lines = [line.split() for line in home.run_ok("ls", *arguments).splitlines()]
    assert [line[0] for line in lines if line and line[0] in table] == table
    return table


def test_the_list_is_sorted_by_the_given_key(home: Home) -> None:
    home.start("b", "-w", "2")
    home.start("a")
    home.start("c")
    home.run_ok("stop", "c")
    assert names(home) == ["a", "b", "c"]
    assert names(home, "--sort", "workers") == ["b", "a", "c"]
    assert names(home, "--sort", "uptime") == ["b", "a", "c"]
    assert names(home, "--sort", "memory")[2] == "c"
    assert "choose from" in home.run_failing(100, "list", "--sort", "colour")


def test_an_app_that_has_ended_is_shown_without_a_leader(home: Home) -> None:
    home.run_failing(102, "start", "-b", "127.0.0.1:0", "--name", "broken", "web:nope")
    home.start("ended")
    home.run_ok("stop", "ended")
    home.start("killed")
    os.kill(home.app("killed")["pid"], signal.SIGKILL)
    wait_for(lambda: home.app("killed")["state"] == "dead", "it is dead")
    for name, state in (("broken", "failed"), ("ended", "stopped"), ("killed", "dead")):
        assert re.search(rf"(?m)^state +{state}\b", home.run_ok("show", name))
        assert "leader" not in home.app(name)


@pytest.mark.parametrize("leave", ["q", "\x03", "signal"])
def test_the_list_is_drawn_again_until_the_user_quits(home: Home, leave: str) -> None:
    home.start()
    with on_terminal(home, "list", "--watch", "0.1") as terminal:
        terminal.wait_for_output(r"(?s)web +running +1/1.*q quits")
        assert not terminal.is_echoing()
        home.run_ok("scale", "web", "2")
        terminal.wait_for_output(r"web +running +2/2")
        home.start("later")
        terminal.wait_for_output(r"later +running +1/1")
        if leave == "signal":
            os.kill(terminal.process.pid, signal.SIGINT)
        else:
            terminal.press(leave)
        assert terminal.wait_exit() == 0
        assert terminal.is_echoing()


def test_without_a_terminal_the_list_is_printed_again_and_again(home: Home) -> None:
    home.start()
    watching = subprocess.Popen(
        [sys.executable, "-m", "prefork", "ls", "--watch", "0.1", "--json"],
        env=home.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watching.stdout is not None
        for _ in range(3):
            (app,) = json.loads(watching.stdout.readline())
            assert app["state"] == "running"
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE) == 0
    finally:
        watching.kill()
        watching.communicate()
    command = f"{sys.executable} -m prefork list --watch 0.1 | head -2 | grep -c name"
    shell = ["bash", "-c", f"set -o pipefail; {command}"]
    ended = subprocess.run(
        shell, capture_output=True, text=True, env=home.environ(), timeout=PATIENCE, check=False
    )
    assert ended.stdout == "1\n"
    assert ended.stderr == ""


@pytest.mark.parametrize("often", ["0", "-1", "nan"])
def test_a_wrong_interval_is_refused(home: Home, often: str) -> None:
    assert "is not a number of seconds" in home.run_failing(100, "list", f"--watch={often}")


def test_a_drained_app_says_so_and_keeps_its_number_of_workers(home: Home) -> None:
    home.start("web", "-w", "2")
    home.run_ok("scale", "web", "3")
    master = home.app()["pid"]
    os.kill(master, signal.SIGWINCH)
    wait_for(lambda: not home.app()["workers"], "all workers have left")
    os.kill(master, signal.SIGTTOU)
    note = "web: WINCH has drained all workers; `prefork reload web` brings them back"
    for verb in ("list", "show"):
        assert note in home.run_ok(verb, *(["web"] if verb == "show" else []))
    assert home.run_ok("reload", "web", "--dry-run").endswith("web: 0 workers now, 3 then\n")
    home.run_ok("reload", "web")
    assert home.app()["ready"] == 3
    assert note not in home.run_ok("list")
