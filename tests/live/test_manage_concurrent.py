"""Verbs at the same time: in whatever order they run, each prints what is true of the apps.

The suite runs a few random histories; ``pytest FILE --seeds 20`` runs more of them.
"""

import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.harness import PATIENCE, wait_for
from tests.live.home import Home, temporary_home

VERBS = 20
NAMES = ("web", "api")

RUNS = r"(running|reloading|stopping) gen \d+, \d/\d ready(, listening on \S+)?"
NOT_THERE = (
    r"prefork: there is no app '\w+'(; did you mean \w+\?|; `prefork list` shows all apps)",
    r"prefork: \w+ does not run, and is not in the list any more",
    r"prefork: \w+ is not in the list any more",
)
NOT_RUNNING = (
    *NOT_THERE,
    r"prefork: \w+ does not run; `prefork start \w+` starts it",
    r"prefork: \w+ ended, and another master runs now; repeat the command",
)
STOPPED = (
    r"prefork: \w+: it is stopping",
    r"prefork: \w+: it was told to stop before that was done",
    r"prefork: \w+: it stopped before it could answer",
)
STARTED = rf"\w+: {RUNS}"
NOT_STARTED = (
    r"prefork: \w+ runs already; use `prefork reload \w+` for new code, `prefork stop \w+` and "
    r"this start for other options, or another --name",
    r"prefork: \w+ is stopping; start it when that is over",
    r"prefork: \w+: told to stop before it was ready",
    r"prefork: \w+: it was ready, and does not run any more: "
    r"(stopped|it was deleted|another master runs now)",
    *STOPPED,
)
UNKNOWN = r"prefork: \w+: how it was started is not known; start it by its target"

ALLOWED: dict[str, dict[int, tuple[str, ...]]] = {
    "start": {0: (STARTED,), 100: NOT_STARTED},
    "start again": {0: (STARTED,), 100: (*NOT_STARTED, *NOT_THERE, UNKNOWN)},
    "stop": {0: (r"\w+: stopped", r"\w+: does not run"), 100: NOT_THERE},
    "delete": {
        0: (r"(\w+: stopped\n)?\w+: deleted",),
        100: (
            *NOT_THERE,
            r"(\w+: stopped\n)?prefork: \w+ was started again meanwhile, and is not deleted",
        ),
    },
    "reload": {
        0: (r"\w+: reloaded to gen \d+ in [\d.]+s",),
        100: (*NOT_RUNNING, *STOPPED),
    },
    "scale": {
        0: (r"\w+: \d workers?(, as a (later command|reload) asked meanwhile)?",),
        100: (*NOT_RUNNING, *STOPPED),
    },
    "restart": {
        0: (
            r"(\w+: does not run\n)?" + STARTED,
            r"\w+: reloaded to gen \d+ in [\d.]+s\n\w+: nothing needs a restart.*",
            rf"\w+: stopped\n{STARTED}",
        ),
        100: (*NOT_STARTED, *NOT_RUNNING, UNKNOWN),
    },
    "ping": {0: (r"\w+: answers in [\d.]+ ms",), 100: (*NOT_RUNNING, *STOPPED)},
    "save": {0: (r"(.*\n)*saved \d apps? in .*",)},
    "list": {0: (r"(.*\n)*.*",)},
}
"""The texts that each verb may print beside others, by its exit code. All other texts are wrong:
no master hangs or crashes here, no other user is involved, and --force is never needed."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--seeds")))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        yield made


def random_verb(rng: random.Random) -> tuple[str, list[str]]:
    """Return a random verb, by its key in ALLOWED, and its command line."""
    name = rng.choice(NAMES)
    new = ["start", "-b", "127.0.0.1:0", "-w", str(rng.choice((1, 2))), "--name", name, "web:app"]
    return rng.choice(
        [
            ("start", new),
            ("start", new),
            ("start again", ["start", name, name]),  # a single name could also be a module
            ("stop", ["stop", name]),
            ("stop", ["stop", "--quick", name]),
            ("delete", ["delete", name]),
            ("reload", ["reload", name]),
            ("scale", ["scale", name, str(rng.choice((1, 2, 3)))]),
            ("restart", ["restart", name]),
            ("restart", ["restart", "--stop-first", name]),
            ("ping", ["ping", name]),
            ("save", ["save"]),
            ("list", ["list", "--json"]),
        ]
    )


def act(home: Home, key: str, line: list[str], after: float) -> str:
    """Run a verb after a pause; return a text of what is wrong with its output, or nothing."""
    time.sleep(after)  # the seed decides when the verb runs; nothing is waited for
    done = subprocess.run(
        [sys.executable, "-m", "prefork", *line],
        cwd=home.folder,
        env=home.environ(),
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    output = (done.stdout + done.stderr).strip()
    if key == "restart" and done.returncode:  # its steps before the failed one are right, too
        output = output.rpartition("\n")[2]
    allowed = ALLOWED[key].get(done.returncode, ())
    if any(re.fullmatch(pattern, output) for pattern in allowed):
        return ""
    return f"{' '.join(line)} after {after:.2f} s: {done.returncode}: {output}"


def test_twenty_verbs_at_a_time_each_print_what_is_true(home: Home, seed: int) -> None:
    rng = random.Random(seed)
    with ThreadPoolExecutor(VERBS) as threads:
        acting = [
            threads.submit(act, home, *random_verb(rng), rng.uniform(0.0, 1.5))
            for _ in range(VERBS)
        ]
        wrong = [problem for each in acting if (problem := each.result())]
    assert not wrong, "\n".join(wrong)
    for app in home.client.apps():
        assert app["state"] in ("running", "stopped"), app
        if app["state"] == "running":
            assert app["ready"] == app["target"] == len(app["workers"]), app
    home.run_ok("delete", "all")
    left = [each.name for each in os.scandir(home.home) if each.name != "saved.toml"]
    assert left == []
    assert home.client.apps() == []
    wait_for(lambda: not processes_of(home), "no process is left")


def processes_of(home: Home) -> list[int]:
    """Return the pids of the processes that run in this home."""
    found = []
    for process in os.scandir("/proc"):
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                environ = (Path(process.path) / "environ").read_bytes()
            except OSError:
                continue  # the process has ended
            if f"PREFORK_HOME={home.home}".encode() in environ.split(b"\0"):
                found.append(int(process.name))
    return found
