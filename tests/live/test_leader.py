"""One worker leads: never two, and again one after the leader has ended, however it ended."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.harness import APPS, Server, command, serving, wait_for
from tests.live.leaders import assert_one_at_a_time, begun, read_terms, wait_for_leader

PATH = ("--pythonpath", str(APPS))


def leaders(folder: Path, app: str, *arguments: str, workers: int, **env: str):
    environ = {"TERMS": str(folder), **env}
    return serving(folder, f"leaders:{app}", *PATH, *arguments, workers=workers, env=environ)


@pytest.mark.parametrize(
    ("app", "arguments", "callback"),
    [
        ("wsgi", (), "function"),
        ("wsgi", ("--threads", "2"), "coroutine"),
        ("asgi", (), "coroutine"),
        ("asgi", (), "asking"),
        ("asgi", (), "forking"),
        ("main", (), "function"),
        ("async_main", (), "coroutine"),
    ],
)
def test_one_worker_of_each_interface_leads(
    tmp_path: Path, app: str, arguments: tuple[str, ...], callback: str
) -> None:
    with leaders(tmp_path, app, *arguments, workers=3, CALLBACK=callback, WATCH="1") as server:
        first = wait_for_leader(tmp_path, 1)
        first.kill()
        second = wait_for_leader(tmp_path, 2)
        server.send(signal.SIGHUP)
        third = wait_for_leader(tmp_path, 3)
        server.wait_all_ready(3, 2)
        assert third.pid in {worker.pid for worker in server.workers()}
        assert server.stop() == 0
        assert server.count("Traceback|kill timeout") == 0
    noted = [(note[0], note[1:-1], int(note[-1])) for note in read_terms(tmp_path)]
    tokens = [str(token) for token, _ in begun(tmp_path)]
    expected = [
        ("begin", [tokens[0], "True", "True"], first.pid),
        ("begin", [tokens[1], "True", "True"], second.pid),
        ("end", [tokens[1], "False", "None"], second.pid),
        ("begin", [tokens[2], "True", "True"], third.pid),
        ("end", [tokens[2], "False", "None"], third.pid),
    ]
    assert [note for note in noted if note[0] != "child"] == expected
    # The first leader may have been killed before it forked.
    children = [words for word, words, _ in noted if word == "child"]
    assert all(words == ["False", "None"] for words in children)
    assert (len(children) >= 2) == (callback == "forking")
    assert_one_at_a_time(tmp_path)


def disturb(server: Server, folder: Path, how: str, terms: int) -> None:
    """End the leadership in one way, and wait for the next leader. ``terms``: those so far."""
    leader = wait_for_leader(folder, terms)
    if how == "reload":
        done = server.count(r"reloaded to gen|reload failed")
        server.send(signal.SIGHUP)
        server.wait_log(r"reloaded to gen", done + 1)
    else:
        leader.send_signal(signal.SIGKILL if how == "kill" else signal.SIGSTOP)
        server.wait_log(rf"pid {leader.pid}, .* gone")
    wait_for_leader(folder, terms + 1)


@pytest.mark.parametrize(
    ("workers", "disturbances"),
    [
        (4, ["kill", "stop", "reload", "kill"]),
        pytest.param(8, None, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
    ids=["few", "fifty"],
)
def test_no_two_lead_while_leaders_are_killed_stopped_and_reloaded_away(
    tmp_path: Path, workers: int, disturbances: list[str] | None
) -> None:
    rng = random.Random(20)
    chosen = disturbances or [rng.choice(["kill", "stop", "reload"]) for _ in range(50)]
    limits = ("--timeout", "1s", "--min-uptime", "0")
    with leaders(tmp_path, "wsgi", *limits, workers=workers, WATCH="1") as server:
        for terms, how in enumerate(chosen, 1):
            disturb(server, tmp_path, how, terms)
        assert server.stop() == 0
    assert_one_at_a_time(tmp_path)
    assert len(begun(tmp_path)) > len(chosen)


def test_a_leader_that_drains_leads_until_its_callback_has_ended(tmp_path: Path) -> None:
    with leaders(tmp_path, "wsgi", workers=2) as server:
        leader = wait_for_leader(tmp_path, 1)
        (tmp_path / "hold").touch()
        leader.terminate()
        server.wait_log(rf"pid {leader.pid}, gen 1\) drains")
        server.ready(3)  # its heir, so all is ready for another leader
        assert len(begun(tmp_path)) == 1
        (tmp_path / "hold").unlink()
        wait_for_leader(tmp_path, 2)
    assert [note[0] for note in read_terms(tmp_path)] == ["begin", "end", "begin"]


def test_the_leader_of_a_killed_master_leads_no_more_and_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    with leaders(tmp_path, "wsgi", "-n", "orphaned", workers=2) as first:
        leader = wait_for_leader(tmp_path, 1)
        first.process.kill()
        with leaders(tmp_path, "wsgi", "-n", "orphaned", workers=2) as second:
            second.wait_log(rf"the leader of the last master, pid {leader.pid}, still runs")
            shown = json.loads(command("list", "--json", cwd=tmp_path).stdout)
            assert [app["leader"] for app in shown if app["name"] == "orphaned"] == [None]
            assert len(begun(tmp_path)) == 1
            (tmp_path / "hold").unlink()
            next_leader = wait_for_leader(tmp_path, 2)
            assert next_leader.pid in {worker.pid for worker in second.workers()}
    assert_one_at_a_time(tmp_path)


def test_the_leader_is_shown(tmp_path: Path) -> None:
    status = str(tmp_path / "status")
    with leaders(tmp_path, "asgi", "-n", "shown", "--status", f"unix:{status}", workers=2):
        leader = wait_for_leader(tmp_path, 1)
        (token, _) = begun(tmp_path)[0]
        (app,) = (
            each
            for each in json.loads(command("list", "--json", cwd=tmp_path).stdout)
            if each["name"] == "shown"
        )
        assert (app["leader"]["pid"], app["leader"]["token"]) == (leader.pid, token)
        assert app["figures"]["leads"] == 1
        assert {each["pid"] for each in app["workers"] if each["leads"]} == {leader.pid}
        shown = command("show", "shown", cwd=tmp_path).stdout
        assert f"(pid {leader.pid}), token {token}" in shown
        asked = ("curl", "-s", "--unix-socket", status, "http://localhost/metrics")
        metrics = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        assert f'prefork_leader_token{{app="shown"}} {token}' in metrics


def test_no_program_leads(tmp_path: Path) -> None:
    server = Server("-n", "program", "--", "sleep", "1000", cwd=tmp_path)
    try:
        server.ready()
        shown = json.loads(command("list", "--json", cwd=tmp_path).stdout)
        (app,) = (each for each in shown if each["name"] == "program")
        assert (app["leader"], app["figures"]["leads"]) == (None, None)
    finally:
        server.destroy()


OUTSIDE = """
import os, threading, prefork
called = threading.Event()
prefork.on_leader(called.set)
leads = prefork.leader(), prefork.leader_token() is not None, called.wait(60 if FLAG else 0)
print(*leads, flush=True)
if os.fork() == 0:
    print(prefork.leader(), flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize("flag", [True, False])
def test_a_process_outside_of_prefork_leads_only_if_its_environment_says_so(
    tmp_path: Path, flag: bool
) -> None:
    environ = {**os.environ, **({"PREFORK_LEADER": "1"} if flag else {})}
    code = OUTSIDE.replace("FLAG", str(flag))
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert ran.stdout.split() == [str(flag)] * 3 + ["False"]


def test_a_worker_that_is_killed_at_its_kill_timeout_is_followed(tmp_path: Path) -> None:
    """Its callback does not end by itself."""
    (tmp_path / "hold").touch()
    with leaders(tmp_path, "wsgi", "--kill-timeout", "1s", workers=2) as server:
        leader = wait_for_leader(tmp_path, 1)
        leader.terminate()
        server.wait_log(rf"pid {leader.pid}, gen 1\) gone")
        wait_for_leader(tmp_path, 2)
    wait_for(lambda: len(begun(tmp_path)) == 2, "two terms")
    assert "end" not in [note[0] for note in read_terms(tmp_path)]
