"""Autoscaling with real workers: up under load, down after it, and vetoes."""

import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.app_sources import write_version
from tests.live.client_load import client_load
from tests.live.harness import PATIENCE, command, serving, wait_for
from tests.live.home import temporary_home

SLEEPY = """
def app(environ, start_response, _inner=app):
    time.sleep(0.1)
    return _inner(environ, start_response)
"""
COMPUTES = """
def app(environ, start_response, _inner=app):
    end = time.thread_time() + 0.05
    while time.thread_time() < end:
        pass
    return _inner(environ, start_response)
"""
QUICKLY = ("--scale-down-after", "1s")
ONE_CORE = (
    sys.executable,
    "-c",
    "import os, sys; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); "
    "os.execvp(sys.argv[1], sys.argv[1:])",
)
"""A prefix of a command: it and its children share one core."""


def write_app(folder: Path, how: str) -> None:
    write_version(folder, 1, code="import time")
    with (folder / "app.py").open("a") as file:
        file.write(how)


def test_many_clients_get_all_workers_and_no_request_is_lost_when_workers_leave(
    tmp_path: Path,
) -> None:
    write_app(tmp_path, SLEEPY)
    with serving(tmp_path, "app:app", "--max-workers", "6", *QUICKLY) as server:
        with client_load(server.port, keep=8, fresh=24, pause=0.02) as clients:
            clients.begin_phase("rising")
            server.wait_log("scaling from 1 to 2 workers: .* wait")
            server.ready(6)
            clients.run_phase("full", 300)
            report = clients.stop()
        assert not report.failures, report
        # A few clients stay, so that each worker that leaves has a connection to end.
        with client_load(server.port, keep=1, fresh=1, pause=1.0) as clients:
            server.wait_log("scaling from 2 to 1 worker: (workers are busy|no connection waits)")
            server.wait_log("gone: scale", 5)
            report = clients.stop()
        assert not report.failures, report
        assert [int(title.split("worker ")[1].split()[0]) for title in server.titles()] == [0]
        assert server.stop() == 0


def test_clients_of_a_unix_socket_are_counted_too(tmp_path: Path) -> None:
    write_app(tmp_path, SLEEPY)
    # A worker may accept faster than it answers; beyond its limit they wait in the queue.
    words = ("-b", "unix:socket", "--max-workers", "2", "--limit-connections", "4")
    with serving(tmp_path, "app:app", *words) as server, ExitStack() as stack:
        for _ in range(40):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(PATIENCE)
            client.connect(str(tmp_path / "socket"))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        server.wait_log("scaling from 1 to 2 workers: .* connections wait")


def test_an_app_that_computes_gets_no_more_workers_than_the_cpu_can_feed(tmp_path: Path) -> None:
    write_app(tmp_path, COMPUTES)
    wide = ("--max-workers", "64")
    with serving(tmp_path, "app:app", *wide, prefix=ONE_CORE) as server:
        with client_load(server.port, keep=0, fresh=24, pause=0.02) as clients:
            server.wait_log(r"not scaling up from \d+: .*, but the CPU is busy")
            clients.wait_served(50)
            report = clients.stop()
        assert not report.failures, report
        assert len(server.workers()) < 8


SMALL_MACHINE = (
    "unshare",
    "-m",
    "sh",
    "-c",
    'mount --bind meminfo /proc/meminfo && exec "$@"',
    "sh",
)
"""A prefix of a command: the command sees the memory that the file ``meminfo`` describes."""


def test_no_worker_is_added_that_would_take_the_last_memory(tmp_path: Path) -> None:
    write_app(tmp_path, SLEEPY)
    (tmp_path / "meminfo").write_text("MemTotal: 1000000 kB\nMemAvailable: 100000 kB\n")
    if subprocess.run([*SMALL_MACHINE, "true"], cwd=tmp_path, check=False).returncode:
        pytest.skip("we may not mount anything, not even for ourselves")
    with serving(tmp_path, "app:app", "--max-workers", "8", prefix=SMALL_MACHINE) as server:
        with client_load(server.port, keep=0, fresh=24, pause=0.02):
            server.wait_log("not scaling up from 1: .*, but memory is short")
        assert not server.count("scaling from")


def test_workers_that_keep_failing_are_a_veto(tmp_path: Path) -> None:
    write_app(tmp_path, SLEEPY + "if os.environ['PREFORK_SLOT'] == '1': os._exit(3)\n")
    with serving(tmp_path, "app:app", "--max-workers", "8") as server:
        with client_load(server.port, keep=0, fresh=24, pause=0.02):
            server.wait_log("scaling from 1 to 2 workers")
            server.wait_log("not scaling up from 2: .*, but workers keep failing")
        assert not server.count("scaling from 2")


def test_a_reload_turns_it_on_and_off_and_moves_its_bounds(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    settings = tmp_path / "prefork.toml"
    settings.write_text("")
    with serving(tmp_path, "app:app", "-c", str(settings)) as server:
        for generation, (text, workers) in enumerate(
            [
                ("min-workers = 2\nmax-workers = 3\n", 2),
                ("min-workers = 3\nmax-workers = 4\n", 3),
                ("max-workers = 2\n", 2),
                ("", 2),
            ],
            2,
        ):
            settings.write_text(text)
            server.send(signal.SIGHUP)
            server.wait_all_ready(workers, generation)
        settings.write_text("scale-down-after = '50ms'\nmax-workers = 3\n")
        server.send(signal.SIGHUP)
        server.wait_log("scaling from 2 to 1 worker: (workers are busy|no connection waits)")


def test_a_scale_beyond_the_limits_is_refused(tmp_path: Path) -> None:
    with temporary_home(tmp_path) as home:
        home.start("web", "--min-workers", "2", "--max-workers", "3")
        assert home.app()["target"] == 2
        assert "there may be 2 to 3 workers, not 4" in home.run_failing(100, "scale", "web", "4")
        assert "there may be 2 to 3 workers, not 1" in home.run_failing(100, "scale", "web", "-1")
        assert home.run_ok("scale", "web", "3") == "web: 3 workers\n"
        told = home.app()["autoscale"]
        assert (told["min"], told["max"], told["calm"]) == (2, 3, 30.0)
        wait_for(
            lambda: (home.app()["autoscale"]["reading"] or {}).get("ready") == 3, "it has looked"
        )
        assert "autoscale 2 to 3 workers" in " ".join(home.run_ok("show", "web").split())
        home.start("plain")
        assert home.app("plain")["autoscale"] is None


def test_show_names_the_last_step_and_its_reason(tmp_path: Path) -> None:
    with temporary_home(tmp_path) as home:
        home.start("web", "-w", "2", "--max-workers", "3", *QUICKLY)
        told = wait_for(lambda: home.app()["autoscale"]["last"], "one leaves")
        assert (told["before"], told["workers"]) == (2, 1)
        assert re.fullmatch("workers are busy [0-9]% of the time|no connection waits", told["why"])
        assert "2 -> 1" in home.run_ok("show", "web")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--min-workers", "2"), "min-workers: 2 has no effect without max-workers"),
        (
            ("--min-workers", "3", "--max-workers", "2"),
            "min-workers: 3 are more than max-workers, which is 2",
        ),
    ],
)
@pytest.mark.parametrize("check", [(), ("--check",)])
def test_bounds_that_contradict_each_other_are_refused(
    tmp_path: Path, words: tuple[str, ...], said: str, check: tuple[str, ...]
) -> None:
    write_version(tmp_path, 1)
    ended = command(*check, "-b", "127.0.0.1:0", *words, "app:app", cwd=tmp_path)
    assert (ended.returncode, said in ended.stderr) == (100, True), ended.stderr


def test_workers_are_added_for_busy_workers_before_a_connection_waits(tmp_path: Path) -> None:
    """A worker with threads accepts every connection at once; requests wait inside of it."""
    write_app(tmp_path, SLEEPY)
    words = ("--threads", "2", "--max-workers", "2")
    with serving(tmp_path, "app:app", *words) as server, client_load(server.port, keep=12, fresh=0):
        server.wait_log("scaling from 1 to 2 workers: workers are busy")
