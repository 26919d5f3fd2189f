"""Workers that are replaced because of memory or by the clock lose no request."""

import json
import os
import re
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.live.app_sources import write_version
from tests.live.client_load import client_load
from tests.live.harness import Server, command, serving, shared_folder, wait_for
from tests.live.home import fetch, temporary_home
from tests.live.programs import needs_node, running_program, write_node
from tests.live.reloads import assert_nothing_lost, reload

LEAKS = {
    "wsgi": """
whole = app
KEPT = []
def app(environ, start_response):
    KEPT.append(os.urandom(100_000))
    return whole(environ, start_response)
""",
    "asgi": """
whole = app
KEPT = []
async def app(scope, receive, send):
    KEPT.append(os.urandom(100_000))
    await whole(scope, receive, send)
""",
}
RECYCLED = r"worker \d+ \(pid (\d+), gen 1\) gone: recycled: \d+(\.\d)? MB > --max-memory 100m"
HOLD = """
import os
HELD = []
def hold(megabytes):
    HELD.append(os.urandom(megabytes * 2**20))
"""


def write_leak(folder: Path, interface: str) -> None:
    write_version(folder, 1, interface)
    with (folder / "app.py").open("a") as file:
        file.write(LEAKS[interface])


def never_two_heirs_at_once(server: Server) -> None:
    """Assert that each heir is ready and its incumbent stopped before the next heir is forked."""
    words = [
        m[1] for line in server.lines if (m := re.search(r"\) (ready|drains: recy|gone)", line))
    ]
    assert "ready" in words
    first = words.index("drains: recy")
    told = [word for word in words[first - 1 :] if word != "gone"]
    assert set(told[0::2]) == {"ready"}
    assert set(told[1::2]) <= {"drains: recy"}


@pytest.mark.parametrize(
    ("interface", "threads"),
    [
        ("wsgi", "0"),
        pytest.param("wsgi", "4", marks=pytest.mark.slow),
        pytest.param("asgi", "0", marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_workers_that_grow_are_replaced_without_a_failure(
    tmp_path: Path, interface: str, threads: str
) -> None:
    write_leak(tmp_path, interface)
    options = ("--max-memory", "100m", "--threads", threads)
    with (
        serving(tmp_path, "app:app", *options, workers=3) as server,
        client_load(server.port, 16, 16, pause=0.02) as clients,
    ):
        clients.run_phase("quiet", 500)
        clients.begin_phase("leaking")
        server.wait_log(RECYCLED, 6, patience=60)
        report = clients.stop()
        assert_nothing_lost(report)
        never_two_heirs_at_once(server)
        assert server.count("ERROR") == 0
        assert server.stop() == 0


def test_why_and_events_name_recycled_workers_and_reasons(tmp_path: Path) -> None:
    with temporary_home(tmp_path) as home:
        source = HOLD + "def app(environ, start_response):\n    hold(150)\n    start_response"
        home.write("web.py", source + '("200 OK", [])\n    return [b"ok"]\n')
        home.start("web", "--max-memory", "100m", "--max-memory-jitter", "1m")
        (before,) = home.app()["workers"]
        entry = home.client.find("web")[0]
        events = home.client.events(entry)
        with ThreadPoolExecutor() as threads:
            first = threads.submit(next, events)
            ask = partial(home.client.ask, entry, "scale", workers="1")
            wait_for(lambda: ask() and first.done(), "the events are followed")
        assert fetch(home.app()) == b"ok"
        kinds = []
        for event in events:
            if event.details["kind"] != "Scaled":
                kinds.append(event.details["kind"])
            if kinds[-1:] == ["WorkerGone"]:
                why = r"1\d\d MB > --max-memory 100m( \+ [01]\.\d MB)?"
                assert re.fullmatch(why, event.details["why"])
                assert event.details["cause"] == "recycled"
                break
        assert kinds == ["WorkerReady", "WorkerLeaving", "WorkerGone"]
        told = home.run_ok("why", "web")
        assert re.search(rf"worker 0 \(pid {before['pid']}, gen 1\): recycled: 1\d\d MB >", told)
        assert home.app()["restarts"] == 0
        assert home.app()["generation"] == 1


def test_a_worn_worker_without_an_heir_serves_on_and_is_logged_once(tmp_path: Path) -> None:
    write_version(tmp_path, 1, code=HOLD + "def grow():\n    hold(150)\n    return b'grown'\n")
    with serving(tmp_path, "app:app", "--max-memory", "100m") as server:
        (tmp_path / "app.py").write_text("def (\n")
        assert server.get("/grow")[1] == b"grown"
        server.wait_log("is worn .* MB > --max-memory 100m.* and serves on until an heir is ready")
        server.wait_log("gone: boot failure .*a new one in", 4)
        assert server.get()[1].startswith(b"0001 ")
        assert server.count("and serves on until") == 1
        assert server.count("SyntaxError") == 1
        write_version(tmp_path, 2)
        server.wait_log("gone: recycled: ")
        assert server.get()[1].startswith(b"0002 ")
        assert server.stop() == 0


def test_a_main_and_the_processes_that_it_began_count_together(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        """\
import subprocess, sys
HELD = []
def main(listener):
    while True:
        connection, _ = listener.accept()
        words = [sys.executable, "-c", "import os, sys; x = os.urandom(150 * 2**20); print(1)\\n"
                 "sys.stdout.flush(); sys.stdin.read()"]
        child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        child.stdout.readline()
        HELD.append(child)
        connection.close()
"""
    )
    with serving(tmp_path, "app:main", "--max-memory", "100m") as server:
        with server.connect() as connection:
            assert connection.recv(1) == b""
        server.wait_log(RECYCLED)
        assert server.stop() == 0


def test_without_the_right_to_see_pss_it_goes_by_rss(tmp_path: Path) -> None:
    """Root in a container has no capability to read processes of other users."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv")
    with shared_folder() as folder:
        write_version(folder, 1, code=HOLD + "def grow():\n    hold(150)\n    return b'grown'\n")
        prefix = ("setpriv", "--bounding-set", "-sys_ptrace,-perfmon,-sys_admin")
        options = ("--max-memory", "100m", "--user", "nobody")
        with serving(folder, "app:app", *options, prefix=prefix) as server:
            assert server.get("/grow")[1] == b"grown"
            server.wait_log(RECYCLED)
            server.wait_log("--max-memory goes by RSS: the kernel does not tell the master the PSS")
            assert server.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["pss", "rss"])
def test_shared_memory_counts_in_part_or_in_full(tmp_path: Path, measure: str) -> None:
    """A worker and its child share 60 MB; each has some 25 MB of Python, mostly shared."""
    code = HOLD + "hold(60)\nimport signal\nif not os.fork():\n    signal.pause()\n"
    write_version(tmp_path, 1, code=code + "def grow():\n    hold(100)\n    return b'grown'\n")
    options = ("--max-memory", "150m", "--max-memory-measure", measure)
    with serving(tmp_path, "app:app", *options) as server:
        if measure == "pss":
            assert server.get("/grow")[1] == b"grown"
        told = int(server.wait_log(r"recycled: (\d+) MB > --max-memory 150m")[1])
        assert (160 <= told < 230) if measure == "pss" else (150 <= told < 250)
        assert server.stop() == 0


def test_a_program_that_has_its_port_alone_cannot_be_replaced_and_serves_on(tmp_path: Path) -> None:
    """Two processes cannot have the port, as in a reload."""
    (tmp_path / "own.py").write_text(
        """\
import os, socket, time
line = socket.socket(socket.AF_UNIX)
line.bind("own.sock")
x = os.urandom(150 * 2**20)
time.sleep(1000)
"""
    )
    options = ("--max-memory", "100m", "--ready", "200ms")
    with running_program(tmp_path, [sys.executable, "own.py"], *options) as server:
        (worker,) = [int(m[1]) for m in [server.wait_log(r"pid (\d+), gen 1\) ready")]]
        server.wait_log(rf"pid {worker}, gen 1\) is worn .*serves on")
        server.wait_log("gone: boot failure .*: .*Address already in use|Address already in use")
        os.kill(worker, 0)
        assert server.stop() == 0


@needs_node
def test_a_node_program_that_grows_is_replaced_under_load(tmp_path: Path) -> None:
    write_node(tmp_path, 1)
    with (tmp_path / "server.js").open("a") as file:
        file.write(
            "const kept = [];\n"
            "server.on('request', () => kept.push(require('node:crypto').randomBytes(200000)));\n"
        )
    options = ("-b", "127.0.0.1:0", "--ready", "200ms", "--max-memory", "100m")
    with (
        running_program(tmp_path, ["node", "server.js"], *options, workers=2) as server,
        client_load(server.port, keep=8, fresh=8) as clients,
    ):
        clients.run_phase("quiet", 200)
        clients.begin_phase("leaking")
        server.wait_log(RECYCLED, 3, patience=60)
        assert_nothing_lost(clients.stop())
        assert server.stop() == 0


def test_by_the_clock_all_are_replaced_without_a_failure(tmp_path: Path) -> None:
    """The expression has seconds, so that the test need not wait for a minute."""
    write_version(tmp_path, 1)
    with (
        serving(tmp_path, "app:app", "--cron", "*/3 * * * * *", workers=3) as server,
        client_load(server.port, 16, 16) as clients,
    ):
        clients.run_phase("quiet", 300)
        clients.begin_phase("cron")
        server.wait_log(r"recycling 3 workers: --cron \*/3 \* \* \* \* \*", 2, patience=60)
        server.wait_log(r"gen 1\) gone: recycled: --cron \*/3", 6, patience=60)
        report = clients.stop()
        assert_nothing_lost(report)
        never_two_heirs_at_once(server)
        assert server.count("gen 2") == 0
        assert server.stop() == 0


def test_the_next_time_is_shown_and_a_reload_changes_it(tmp_path: Path) -> None:
    with temporary_home(tmp_path) as home:
        home.write("prefork.toml", 'app = "web:app"\nbind = "127.0.0.1:0"\ncron = "0 4 * * *"\n')
        home.run_ok("start", "-c", "prefork.toml", "--name", "web")
        assert re.search(
            r"next restart +\S+ 04:00:00 \(--cron 0 4 \* \* \*\)", home.run_ok("show", "web")
        )
        home.write("prefork.toml", 'app = "web:app"\nbind = "127.0.0.1:0"\ncron = ["30 5 * * *"]\n')
        home.run_ok("reload", "web")
        (told,) = json.loads(home.run_ok("show", "--json", "web").join("[]"))
        assert told["next_restart"]["cron"] == "30 5 * * *"
        assert told["next_restart"]["at"] % 3600 == 1800
        home.write("prefork.toml", 'app = "web:app"\nbind = "127.0.0.1:0"\ncron = "soon"\n')
        assert "cron = 'soon' is wrong" in home.run_failing(100, "reload", "web")
        home.write("prefork.toml", 'app = "web:app"\nbind = "127.0.0.1:0"\n')
        home.run_ok("reload", "web")
        assert "next_restart" not in json.loads(home.run_ok("show", "--json", "web"))


def test_a_reload_brings_a_limit_and_takes_it_away(tmp_path: Path) -> None:
    write_version(tmp_path, 1, code=HOLD + "def grow():\n    hold(150)\n    return b'grown'\n")
    file = tmp_path / "prefork.toml"
    file.write_text("")
    with serving(tmp_path, "app:app", "-c", "prefork.toml") as server:
        assert server.get("/grow")[1] == b"grown"
        file.write_text('max-memory = "100m"\n')
        reload(server, 2)
        assert server.get("/grow")[1] == b"grown"
        server.wait_log(r"gen 2\) gone: recycled: 1\d\d MB > --max-memory 100m")
        file.write_text('max-memory = "off"\ncron = "* * * * * *"\n')
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 3")
        assert server.get("/grow")[1] == b"grown"
        server.wait_log(r"gen 3\) gone: recycled: --cron", 3)
        assert server.count("> --max-memory") == 2
        assert server.stop() == 0


def test_a_wrong_cron_expression_is_reported(tmp_path: Path) -> None:
    done = command("--cron", "61 4 * * *", "app:app", cwd=tmp_path)
    assert done.returncode == 100
    assert "--cron" in done.stderr
    assert "of '61 4 * * *' cron says: bad minute" in done.stderr


def test_cron_does_not_disturb_a_roll(tmp_path: Path) -> None:
    """Recycling waits for the end of the roll, and then new workers stay."""
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", workers=2, env={"PREFORK_CRON": "* * * * * *"}) as server:
        server.wait_log("recycling 2 workers")
        write_version(tmp_path, 2, code="import time\ntime.sleep(2.5)")
        reload(server, 2)
        rolled = server.log.partition("reloading to gen 2")[2].partition("reloaded to gen 2")[0]
        assert not re.search(r"gen 2\) drains: recycled", rolled)
        server.send(signal.SIGHUP)
        wait_for(lambda: server.count("reloaded to gen 3"), "another reload")
        assert server.stop() == 0
