"""Each verb ends with a true exit code and text, whatever workers and other verbs do."""

import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.live.harness import PATIENCE, wait_for
from tests.live.home import APP, Home, fetch, temporary_home

GATED = "import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.01)\n"
"""An app that boots for as long as a test wants."""

LATER_ONES_FAIL = """\
import os, time
try:
    os.close(os.open("first", os.O_CREAT | os.O_EXCL))
except FileExistsError:
    while "running, gen 1" not in open(os.environ["LOG"]).read():
        time.sleep(0.01)
    raise RuntimeError("only one of us") from None
"""
"""The first worker serves, and the others fail as soon as it does."""


ENDED_BY_A_STOP = (
    "web: (told to stop before it was ready|it is stopping|it stopped before it could answer"
    "|it was told to stop before that was done|it was ready, and does not run any more: )"
)
"""The texts of a start that a stop ended, by how far the start had got."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        yield made


def begin(home: Home, *words: str) -> "subprocess.Popen[str]":
    """Start a verb that runs beside others."""
    return subprocess.Popen(
        [sys.executable, "-m", "prefork", *words],
        cwd=home.folder,
        env=home.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def end(verb: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a verb; return its exit code and output."""
    try:
        said, also = verb.communicate(timeout=PATIENCE)
    finally:
        verb.kill()
        verb.communicate()
    return verb.returncode, said + also


def log(home: Home, name: str = "web") -> str:
    path = home.home / name / "log"
    return path.read_text() if path.exists() else ""


def start_gated(home: Home) -> "subprocess.Popen[str]":
    """Start an app, and wait until its first worker boots."""
    home.write("web.py", GATED + APP.format(text="one"))
    starting = begin(home, "start", "-b", "127.0.0.1:0", "--name", "web", "web:app")
    wait_for(lambda: home.client.apps() and home.app()["state"] == "starting", "it is starting")
    wait_for(lambda: home.app().get("workers"), "a worker boots")
    return starting


# A goal ends: reached, refused, or failed with the reason.


def test_a_scale_whose_workers_keep_failing_fails_with_their_reason(home: Home) -> None:
    home.start()
    home.write("web.py", "raise RuntimeError('no such table')\n")
    said = home.run_failing(102, "scale", "web", "3")
    assert "1 of 3 workers serve, and prefork goes on trying: worker" in said
    assert "failed 3 times: " in said
    assert "RuntimeError: no such table" in said
    app = home.app()
    assert (app["ready"], app["target"]) == (1, 3)
    assert fetch(app) == b"one"
    home.write("web.py", APP.format(text="two"))
    wait_for(lambda: home.app()["ready"] == 3, "it went on trying")


def test_a_scale_is_given_up_as_soon_as_max_restarts_is(home: Home) -> None:
    home.start("web", "--max-restarts", "0")
    home.write("web.py", "1 / 0\n")
    assert "failed once: " in home.run_failing(102, "scale", "web", "2")


def test_a_start_with_one_serving_worker_is_reported_and_stays(home: Home) -> None:
    home.write("web.py", LATER_ONES_FAIL + APP.format(text="one"))
    environ = f"LOG={home.home}/web/log"
    words = ["start", "-w", "2", "-e", environ, "-b", "127.0.0.1:0", "--name", "web", "web:app"]
    said = home.run_failing(102, *words)
    assert "web: 1 of 2 workers serve, and prefork goes on trying" in said
    assert "only one of us" in said
    assert fetch(home.app()) == b"one"


def test_a_reload_during_the_first_boot_ends_with_it(home: Home) -> None:
    starting = start_gated(home)
    reloading = begin(home, "reload", "web")
    wait_for(lambda: "reloading to gen 2" in log(home), "the reload began")
    home.write("go", "")
    code, said = end(reloading)
    assert (code, said[:23]) == (0, "web: reloaded to gen 2 "), said
    code, said = end(starting)
    assert code == 0, said
    assert "web: running gen 2, 1/1 ready" in said
    assert "reloaded to gen 2" in log(home)


def test_a_reload_to_another_address_during_the_first_boot_closes_the_old_one(home: Home) -> None:
    home.write("p.toml", 'app = "web:app"\nbind = "unix:one.sock"\nname = "web"\n')
    home.write("web.py", GATED + APP.format(text="one"))
    starting = begin(home, "start", "p.toml")
    wait_for(lambda: home.client.apps() and home.app().get("workers"), "a worker boots")
    home.write("p.toml", 'app = "web:app"\nbind = "unix:two.sock"\nname = "web"\n')
    reloading = begin(home, "reload", "web")
    wait_for(lambda: "reloading to gen 2" in log(home), "the reload began")
    home.write("go", "")
    assert end(reloading)[0] == end(starting)[0] == 0
    assert [each.name for each in home.folder.glob("*.sock")] == ["two.sock"]


def test_a_stop_ends_waiting_verbs_with_a_message(home: Home) -> None:
    home.start()
    home.write("web.py", GATED + APP.format(text="two"))
    waiting = [begin(home, "reload", "web"), begin(home, "scale", "web", "3")]
    wait_for(lambda: "reloading" in log(home) and "scaling" in log(home), "both wait")
    assert home.run_ok("stop", "web") == "web: stopped\n"
    for verb in waiting:
        code, said = end(verb)
        assert (code, said) == (
            100,
            "prefork: web: it was told to stop before that was done\n",
        )


def test_commands_to_a_stopping_app_are_refused(home: Home) -> None:
    hang = "    open('slow', 'w')\n    while True: time.sleep(0.01)\n    start_response"
    source = APP.format(text="one").replace("    start_response", hang)
    home.write("web.py", f"import time\n{source}")
    home.start("web", "--kill-timeout", "20")
    with ThreadPoolExecutor() as threads:
        hanging = threads.submit(fetch, home.app())
        wait_for((home.folder / "slow").exists, "a request is in flight")
        stopping = begin(home, "stop", "web")
        wait_for(lambda: home.app()["state"] == "stopping", "it is stopping")
        for words in (["reload", "web"], ["scale", "web", "2"]):
            assert home.run_failing(100, *words) == "prefork: web: it is stopping\n"
        said = home.run_failing(100, "start", "web")
        assert said == "prefork: web is stopping; start it when that is over\n"
        assert home.run_ok("stop", "--quick", "web") == "web: stopped\n"
        assert end(stopping) == (0, "web: stopped\n")
        assert isinstance(hanging.exception(), OSError)


# Verbs of an app that starts, or does not run.


def test_a_stop_ends_a_start_and_both_say_so(home: Home) -> None:
    starting = start_gated(home)
    assert home.run_ok("stop", "web") == "web: stopped\n"
    assert end(starting) == (100, "prefork: web: told to stop before it was ready\n")
    assert home.client.apps() == []


@pytest.mark.parametrize("verb", ["stop", "delete"])
def test_one_that_has_just_begun_to_start_is_waited_for(home: Home, verb: str) -> None:
    """The folder of the app is locked before there is a control socket."""
    for _ in range(5):
        starting = begin(home, "start", "-b", "127.0.0.1:0", "--name", "web", "web:app")
        wait_for(lambda: list(home.client.find("all")), "it is in the list")
        done = home.run(verb, "web")
        assert done.returncode == 0, (done.stdout, done.stderr)
        assert "web: stopped\n" in done.stdout
        code, said = end(starting)
        assert code in (0, 100), said
        assert code == 0 or re.search(ENDED_BY_A_STOP, said), said
        home.run("delete", "web")
        assert home.client.apps() == []


@pytest.mark.parametrize(
    "words",
    [["reload"], ["scale", "2"], ["ping"], ["env"], ["reset"], ["signal", "TERM"]],
    ids=lambda words: words[0],
)
def test_an_app_that_does_not_run_is_named_with_the_command_that_starts_it(
    home: Home, words: list[str]
) -> None:
    home.start()
    home.run_ok("stop", "web")
    verb, *rest = words
    said = home.run_failing(100, verb, "web", *rest)
    assert said == "prefork: web does not run; `prefork start web` starts it\n"
    home.run_ok("start", "web")
    os.kill(home.app()["pid"], signal.SIGKILL)
    wait_for(lambda: home.app()["state"] == "dead", "it is dead")
    said = home.run_failing(100, verb, "web", *rest)
    assert "web does not run: its master was killed; `prefork start web` starts it" in said


def test_a_stop_does_not_wait_for_the_next_master(home: Home) -> None:
    """The next master may take the lock at once."""
    home.start()
    for _ in range(5):
        stopping = begin(home, "stop", "web")
        wait_for(lambda: home.run("start", "web").returncode == 0, "it runs again")
        assert end(stopping) == (0, "web: stopped\n")
        assert home.app()["state"] == "running"


def test_a_start_beside_observers_is_not_taken_for_running(home: Home) -> None:
    """Observers lock the folder, too, for an instant."""
    home.start()
    home.run_ok("stop", "web")
    entry = home.client.find("web")[0]
    over = False

    def look() -> None:
        while not over:
            assert entry.is_running() in (True, False)

    with ThreadPoolExecutor(3) as threads:
        looking = [threads.submit(look) for _ in range(3)]
        try:
            for _ in range(3):
                home.run_ok("start", "web")
                home.run_ok("stop", "web")
        finally:
            over = True
        for each in looking:
            each.result()


def test_the_list_names_the_reason_of_a_failed_restart(home: Home) -> None:
    home.start()
    address = home.app()["listening"][0]
    home.run_ok("stop", "web")
    home.write("p.toml", f'app = "web:app"\nbind = "{address}"\nname = "web"\n')
    home.run_ok("start", "p.toml")
    home.run_ok("stop", "web")
    home.run_ok("start", "--name", "other", "-b", address, "web:app")
    assert "the port is in use" in home.run_failing(111, "start", "web")
    assert home.app()["state"] == "failed"
    assert "did not start: cannot listen on" in home.app()["status"]


# The number of workers that the operator set.


def test_the_number_that_scale_set_outlives_the_master(home: Home) -> None:
    home.start("web", "-w", "1")
    home.run_ok("scale", "web", "3")
    home.run_ok("save")
    saved = tomllib.loads((home.home / "saved.toml").read_text())
    assert saved["apps"]["web"]["scaled"] == {"workers": 3, "settings": 1}
    home.run_ok("restart", "--stop-first", "web")
    assert home.app()["ready"] == 3
    home.run_ok("stop", "web")
    assert "3/3 ready" in home.run_ok("start", "web")
    home.run_ok("delete", "web")
    assert "3/3 ready" in home.run_ok("resurrect")
    assert home.app()["target"] == 3
    home.run_ok("scale", "web", "1")
    home.run_ok("save")
    home.run_ok("delete", "web")
    assert "1/1 ready" in home.run_ok("resurrect")


def test_a_number_that_the_settings_changed_later_counts(home: Home) -> None:
    home.write("p.toml", 'app = "web:app"\nbind = "127.0.0.1:0"\nname = "web"\nworkers = 1\n')
    home.run_ok("start", "p.toml")
    home.run_ok("scale", "web", "3")
    home.run_ok("save")
    home.write("p.toml", 'app = "web:app"\nbind = "127.0.0.1:0"\nname = "web"\nworkers = 2\n')
    assert "2/2 ready" in home.run_ok("restart", "--stop-first", "web")
    home.run_ok("delete", "web")
    assert "2/2 ready" in home.run_ok("resurrect")


def test_a_saved_number_that_is_none_is_ignored(home: Home) -> None:
    home.start()
    home.run_ok("save")
    path = home.home / "saved.toml"
    for scaled in ('"many"', "{ workers = 'x', settings = 1 }", "{ workers = -3, settings = 1 }"):
        before = path.read_text()
        path.write_text(before + f"scaled = {scaled}\n")
        home.run_ok("delete", "web")
        assert "1/1 ready" in home.run_ok("resurrect")
        path.write_text(before)


# Programs whose work is done.


def test_a_job_that_is_done_at_once_was_started_well(home: Home) -> None:
    words = ["start", "--name", "job", "--max-restarts", "0", "--stop-exit-codes", "0"]
    done = "job: every worker ended with an exit code of stop-exit-codes\n"
    assert home.run_ok(*words, "--", "true") == done
    app = home.app("job")
    assert (app["state"], app["status"]) == ("stopped", done.removeprefix("job: ").rstrip())
    home.run_ok("delete", "job")
    said = home.run_failing(102, *words, "--", "sh", "-c", "echo 'no table' && false")
    assert "ended before it was ready (exit code 1); it printed nothing on stderr" in said
    name = re.findall(r"`prefork logs (\S+) --out`", said)[0]
    assert "no table" in home.run_ok("logs", name, "--out")
    assert home.app("job")["state"] == "failed"


def test_a_job_that_is_done_at_once_in_one_slot_leaves_the_others(home: Home) -> None:
    script = "test $PREFORK_SLOT = 1 && exit 0; exec sleep 1000"
    words = ["start", "--name", "job", "-w", "2", "--stop-exit-codes", "0", "--ready", "300ms"]
    assert "job: running gen 1" in home.run_ok(*words, "--", "sh", "-c", script)
    (worker,) = home.app("job")["workers"]
    assert psutil.pid_exists(worker["pid"])
    assert "3 workers; the work of slot 1 is done" in home.run_ok("scale", "job", "3")
