"""The figures of list, show and monit, with real apps that answer requests."""

import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from prefork import Client
from tests.live.harness import PATIENCE, wait_for
from tests.live.home import Home, fetch, temporary_home
from tests.live.terminal import on_terminal

WAITS = """\
import os, time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/":
        print("served one", flush=True)
        while not os.path.exists("go"):
            time.sleep(0.01)
    start_response("200 OK", [])
    return [b"went"]
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        yield made


def ask(home: Home, times: int) -> None:
    """Send requests, one after another, and wait until the scoreboard has counted them."""
    before = home.app()["figures"]["requests"]
    for _ in range(times):
        fetch(home.app())
    wait_for(lambda: home.app()["figures"]["requests"] == before + times, "all are counted")


def test_the_figures_of_all_workers_are_in_the_list(home: Home) -> None:
    home.start("web", "-w", "2")
    ask(home, 10)
    (app,) = json.loads(home.run_ok("list", "--json"))
    figures, workers = app["figures"], app["workers"]
    assert figures["requests"] == sum(worker["requests"] for worker in workers) == 10
    assert figures["answered"]["2xx"] == 10
    assert 0 < figures["p50"] <= figures["p99"] < PATIENCE
    assert app["memory"] > sum(worker["memory"] for worker in workers) > 2**20
    assert app["cpu"] >= 0
    row = next(line for line in home.run_ok("list").splitlines() if line.startswith("web"))
    assert re.search(r"web +running +2/2 +[\d.]+ +0 +\d+(\.\d)?(µs|ms) +\d+(\.\d)?(µs|ms)", row)
    assert row.rstrip().endswith(app["listening"][0])  # a pipe gets all columns
    shown = home.run_ok("show", "web")
    assert "2xx 10" in shown
    assert re.search(r"sent +0\.0k in bodies", shown)
    assert re.search(r"10 connections, 0 open, after .* in the queue on average", shown)


def test_the_oldest_request_in_flight_is_shown(home: Home) -> None:
    home.write("web.py", WAITS)
    home.start("web", "--threads", "2")
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(fetch, home.app())
        try:
            wait_for(lambda: home.app()["figures"]["oldest"] > 0, "it is in flight")
            assert re.search(r"in flight +1, the oldest for \d", home.run_ok("show", "web"))
        finally:
            home.write("go", "")
        assert answer.result(PATIENCE) == b"went"
    wait_for(lambda: home.app()["figures"]["oldest"] == 0, "it is not any more")


def test_a_hung_master_does_not_hide_what_its_workers_do(home: Home) -> None:
    home.start("web", "-w", "2")
    home.start("other")
    ask(home, 3)
    before = home.app()
    os.kill(before["pid"], signal.SIGSTOP)
    fetch(before)
    wait_for(lambda: home.app()["figures"]["requests"] == 4, "the worker serves and counts on")
    app = home.app()
    assert (app["state"], app["answers"]) == ("hung", False)
    assert (app["ready"], app["target"], app["generation"]) == (2, 2, 1)
    pids = [worker["pid"] for worker in before["workers"]]
    assert [worker["pid"] for worker in app["workers"]] == pids
    listed = home.run_ok("list")
    assert re.search(r"other +running +1/1", listed)
    assert re.search(r"web +hung +2/2", listed)
    assert "web: its master does not answer; figures are from its scoreboard" in listed
    assert "`prefork stop --force web` ends it" in home.run_ok("show", "web")


@pytest.mark.parametrize(
    ("columns", "last"),
    [(40, "p99"), (60, "memory"), (80, "(memory|uptime)"), (200, "listening")],
)
def test_a_narrow_terminal_gets_fewer_columns(home: Home, columns: int, last: str) -> None:
    home.start()
    with on_terminal(home, "list", columns=columns) as terminal:
        terminal.wait_for_output(
            rf"name +state +workers .*{last} *\r\n─+\r\nweb +running +1/1 .*\r\n"
        )
        assert terminal.wait_exit() == 0


def test_colours_are_for_terminals_unless_variables_say_otherwise(home: Home) -> None:
    home.start()
    assert "\x1b" not in home.run_ok("list")
    assert "\x1b" not in home.run_ok("show", "web")
    # FORCE_COLOR asks for colours in a pipe; NO_COLOR switches them off everywhere.
    assert "\x1b[32mrunning" in home.run("list", FORCE_COLOR="1", TERM="xterm").stdout
    assert "\x1b[32m" not in home.run("list", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm").stdout


def test_every_key_of_an_app_is_documented(home: Home) -> None:
    home.start("web", "--cron", "0 3 * * *")
    (app,) = home.client.measured()
    words = set(re.findall(r"\w+", f"{Client.__doc__} {Client.measured.__doc__}"))

    def keys(app: dict[str, Any]) -> set[str]:
        inner = [app["figures"], *app["workers"]]
        return set(app).union(*inner)

    assert keys(app) - words == set()


def test_monit_shows_the_figures_of_the_last_seconds(home: Home) -> None:
    home.start()
    with on_terminal(home, "monit") as terminal, ThreadPoolExecutor() as threads:
        terminal.wait_for_output(r"web +running +1/1 +- ")
        asked = threads.submit(ask, home, 50)
        terminal.wait_for_output(r"web +running +1/1 +[\d.,]+ +\d+ +\d+(\.\d)?(µs|ms)")
        asked.result(PATIENCE)
        terminal.wait_for_output(r"0 +ready +0 +0 +- +- ")  # later there are no requests
        terminal.press("q")
        assert terminal.wait_exit() == 0


def test_monit_shows_the_log_as_it_comes(home: Home) -> None:
    home.write("web.py", WAITS)
    home.write("go", "")
    home.start()
    with on_terminal(home, "monit") as terminal:
        terminal.wait_for_output(r"worker 0 .* ready in")
        fetch(home.app())
        terminal.wait_for_output(r"\d\d:\d\d:\d\d 0 out served one")
        terminal.press("q")
        assert terminal.wait_exit() == 0


def test_monit_follows_the_size_of_its_terminal(home: Home) -> None:
    home.start()
    with on_terminal(home, "monit", columns=160) as terminal:
        terminal.wait_for_output("listening")
        terminal.resize(40, 20)
        terminal.wait_for_output(r"name +state +workers +req/s[ \w]*│")
        terminal.wait_for_output(r"↑ ↓  reload  \+ -  stop  quit")
        terminal.resize(160, 40)
        terminal.wait_for_output("listening")
        terminal.press("q")
        assert terminal.wait_exit() == 0


def test_monit_continues_while_a_master_hangs(home: Home) -> None:
    home.start()
    with on_terminal(home, "monit") as terminal:
        terminal.wait_for_output(r"web +running")
        os.kill(home.app()["pid"], signal.SIGSTOP)
        terminal.wait_for_output(r"web +hung +1/1")
        terminal.wait_for_output(r"its master does not answer")
        terminal.press("q")
        assert terminal.wait_exit() == 0
