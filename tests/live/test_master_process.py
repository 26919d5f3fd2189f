"""Users, folders, environment, number, titles and idle costs of the processes."""

import json
import os
import pwd
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from prefork.unix.cores import usable_cores
from tests.live.app_sources import HOLD, write_version
from tests.live.harness import PATIENCE, Server, serving, shared_folder, wait_for
from tests.live.held_requests import Gate, read_response, send_request

ABOUT = """
import json, sys
def about():
    mask = os.umask(0)
    os.umask(mask)
    facts = {
        "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(),
        "umask": mask, "cwd": os.getcwd(), "path": sys.path[0], "environ": dict(os.environ),
    }
    return json.dumps(facts).encode()
def boom():
    raise LookupError("boom")
"""

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")


def about(server: Server) -> dict[str, Any]:
    """Return the facts that a worker reports about itself."""
    status, body = server.get("/about")
    assert status == 200
    return dict(json.loads(body))


# User and group.


@pytest.fixture
def shared() -> Iterator[Path]:
    with shared_folder() as folder:
        write_version(folder, 1, code=ABOUT)
        yield folder


@root_only
def test_workers_run_as_the_user_and_the_master_stays_root(shared: Path) -> None:
    user = pwd.getpwnam("nobody")
    with serving(shared, "app:app", "-u", "nobody", workers=2) as server:
        found = about(server)
        assert found["uids"] == [user.pw_uid] * 3
        assert found["gids"] == [user.pw_gid] * 3
        assert found["groups"] == os.getgrouplist("nobody", user.pw_gid)
        assert psutil.Process(server.pid).uids().real == 0
        # The master can still signal and replace them.
        server.workers()[0].kill()
        server.wait_all_ready(2, 1)
        server.send(signal.SIGHUP)
        server.wait_all_ready(2, 2)
        assert about(server)["uids"] == [user.pw_uid] * 3
        assert server.stop() == 0


@root_only
def test_workers_run_with_the_group(shared: Path) -> None:
    with serving(shared, "app:app", "-g", "1") as server:
        found = about(server)
        assert found["gids"] == [1, 1, 1]
        assert found["groups"] == [1]
        assert found["uids"] == [0, 0, 0]


@root_only
def test_workers_of_another_user_end_with_their_master(shared: Path) -> None:
    with serving(shared, "app:app", "-u", "nobody", workers=2) as server:
        workers = server.workers()
        server.send(signal.SIGKILL)
        psutil.wait_procs(workers, timeout=10)
        assert not any(worker.is_running() for worker in workers)


@root_only
def test_the_user_changes_with_a_reload(shared: Path) -> None:
    config = shared / "prefork.toml"
    config.write_text("user = 'nobody'\n")
    with serving(shared, "app:app", "-c", "prefork.toml") as server:
        assert about(server)["uids"] == [pwd.getpwnam("nobody").pw_uid] * 3
        config.write_text("user = 'daemon'\n")
        server.send(signal.SIGHUP)
        server.wait_all_ready(1, 2)
        assert about(server)["uids"] == [pwd.getpwnam("daemon").pw_uid] * 3


@root_only
def test_workers_of_another_user_follow_a_rotation_of_the_logs(shared: Path) -> None:
    log, access = shared / "prefork.log", shared / "access.log"
    arguments = ("-u", "nobody", "--log-file", str(log), "--access-log", str(access))
    server = Server("-b", "127.0.0.1:0", *arguments, "app:app", cwd=shared)
    try:
        wait_for(lambda: log.exists() and "running" in log.read_text(), "running")
        found = re.search(r"listening on 127\.0\.0\.1:(\d+)", log.read_text())
        assert found is not None
        port = int(found[1])
        log.rename(log.with_suffix(".old"))
        access.rename(access.with_suffix(".old"))
        server.send(signal.SIGUSR1)
        wait_for(lambda: log.exists() and "reopened the logs" in log.read_text(), "the new log")

        def fail_again() -> bool:
            assert read_response(send_request(port, "/boom"))[0] == 500
            return "LookupError: boom" in log.read_text()

        wait_for(fail_again, "the worker logs into the new file", 5)
        wait_for(lambda: access.exists() and "/boom" in access.read_text(), "the new access log", 5)
    finally:
        server.destroy()


# Folders and environment.


def test_the_umask_is_that_of_the_workers(tmp_path: Path) -> None:
    write_version(tmp_path, 1, code=ABOUT)
    with serving(tmp_path, "app:app", "--umask", "027") as server:
        assert about(server)["umask"] == 0o027


@pytest.mark.parametrize("how", ["--chdir", "started there"])
def test_a_moved_symlink_is_followed_by_the_next_reload(tmp_path: Path, how: str) -> None:
    current = tmp_path / "current"
    for number in (1, 2):
        release = tmp_path / "releases" / str(number)
        release.mkdir(parents=True)
        write_version(release, number, code=ABOUT)
    current.symlink_to("releases/1")
    arguments = ["--chdir", "current"] if how == "--chdir" else []
    with serving(current if not arguments else tmp_path, "app:app", *arguments) as server:
        assert server.get()[1].startswith(b"0001 ")
        moved = tmp_path / "moved"
        moved.symlink_to("releases/2")
        moved.replace(current)
        assert server.get()[1].startswith(b"0001 ")
        server.send(signal.SIGHUP)
        server.wait_all_ready(1, 2)
        assert server.get()[1].startswith(b"0002 ")
        found = about(server)
        assert found["cwd"] == str(tmp_path / "releases" / "2")
        assert found["path"] == found["environ"]["PWD"] == str(current)


def test_a_release_behind_a_symlink_uses_its_own_settings_file(tmp_path: Path) -> None:
    current = tmp_path / "current"
    for number in (1, 2):
        release = tmp_path / "releases" / str(number)
        release.mkdir(parents=True)
        write_version(release, number, code=ABOUT)
        (release / "prefork.toml").write_text(f"env = {{ RELEASE = {number} }}\n")
    current.symlink_to("releases/1")
    with serving(current, "app:app", "-c", "prefork.toml") as server:
        assert about(server)["environ"]["RELEASE"] == "1"
        (tmp_path / "moved").symlink_to("releases/2")
        (tmp_path / "moved").replace(current)
        server.send(signal.SIGHUP)
        server.wait_all_ready(1, 2)
        assert about(server)["environ"]["RELEASE"] == "2"


def test_a_relative_pythonpath_starts_where_the_command_does(tmp_path: Path) -> None:
    for folder in ("inside", "lib"):
        (tmp_path / folder).mkdir()
    write_version(tmp_path / "lib", 1)
    with serving(tmp_path, "app:app", "--chdir", "inside", "--pythonpath", "lib") as server:
        assert server.get()[0] == 200


SILENT = """
import logging.config, sys
logging.config.dictConfig({"version": 1, "disable_existing_loggers": True})
logging.disable(logging.CRITICAL)
sys.stdout = sys.stderr = None
def boom():
    raise LookupError("boom")
"""


def test_an_app_that_silences_its_own_logs_does_not_silence_ours(tmp_path: Path) -> None:
    write_version(tmp_path, 1, code=SILENT)
    with serving(tmp_path, "app:app") as server:
        assert server.get("/boom")[0] == 500
        server.wait_log("LookupError: boom")


def test_closed_standard_streams_are_opened_at_dev_null(tmp_path: Path) -> None:
    """Otherwise sockets would get their numbers, and output of the app would go there."""
    write_version(tmp_path, 1, code="print('hello'); os.write(1, b'hello'); os.write(2, b'hello')")
    closed = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "-")
    words = ("-b", "unix:app.sock", "--access-log", "-", "app:app")
    server = Server(*words, cwd=tmp_path, prefix=closed)
    try:
        path = tmp_path / "app.sock"
        wait_for(path.exists, "it listens")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            wait_for(lambda: connection.connect_ex(str(path)) == 0, "it accepts")
            connection.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        assert server.stop() == 0
    finally:
        server.destroy()


def test_logs_with_relative_paths_stay_where_they_were_over_a_rotation(tmp_path: Path) -> None:
    """The workers have a working directory of their own."""
    (tmp_path / "inside").mkdir()
    write_version(tmp_path / "inside", 1, code=ABOUT)
    with serving(tmp_path, "app:app", "--chdir", "inside", "--access-log", "access.log") as server:
        access = tmp_path / "access.log"
        assert server.get()[0] == 200
        wait_for(lambda: access.read_text().count("\n") == 1, "an access line")
        access.rename(tmp_path / "access.old")
        server.send(signal.SIGUSR1)
        wait_for(access.exists, "the new access log, beside the old")
        assert not (tmp_path / "inside" / "access.log").exists()


def test_variables_come_change_and_go_with_reloads(tmp_path: Path) -> None:
    write_version(tmp_path, 1, code=ABOUT)
    config = tmp_path / "prefork.toml"
    config.write_text("env = { GREETING = 'one', KEPT = 'here' }\n")
    env = {"KEPT": "there", "OTHER": "untouched"}
    with serving(tmp_path, "app:app", "-c", "prefork.toml", env=env) as server:
        found = about(server)["environ"]
        assert (found["GREETING"], found["KEPT"], found["OTHER"]) == ("one", "here", "untouched")
        config.write_text("env = { GREETING = 'two' }\n")
        server.send(signal.SIGHUP)
        server.wait_all_ready(1, 2)
        found = about(server)["environ"]
        assert (found["GREETING"], found["KEPT"]) == ("two", "there")
        config.write_text("")
        server.send(signal.SIGHUP)
        server.wait_all_ready(1, 3)
        found = about(server)["environ"]
        assert "GREETING" not in found
        assert found["PREFORK_GENERATION"] == "3"


# How many.

ON_ONE_CORE = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_zero_workers_are_one_per_usable_core(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--workers", "0") as server:
        server.wait_all_ready(usable_cores(), 1)


@pytest.mark.parametrize("workers", ["0", "max", "-1"])
def test_a_process_that_may_use_one_core_gets_one_worker(tmp_path: Path, workers: str) -> None:
    write_version(tmp_path, 1)
    prefix = [sys.executable, "-c", ON_ONE_CORE]
    with serving(tmp_path, "app:app", "--workers", workers, prefix=prefix) as server:
        server.wait_title("running gen 1, 1/1 ready$")
        server.wait_all_ready(1, 1)


# Titles.


def test_titles_name_processes_and_states(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    write_version(tmp_path, 1, code=HOLD)
    with serving(tmp_path, "app:app", "-n", "web", workers=2) as server:
        server.wait_title(r"^prefork: master \[web\] running gen 1, 2/2 ready$")
        server.wait_all_ready(2, 1)
        titles = ["prefork: worker 0 [web] ready gen 1", "prefork: worker 1 [web] ready gen 1"]
        assert server.titles() == titles
        held = send_request(server.port, "/hold")
        gate.wait_entered()
        write_version(tmp_path, 2, code='open("gate").read()')
        server.send(signal.SIGHUP)
        server.wait_title(r"^prefork: master \[web\] reloading gen 2, 2/2 ready$")
        wait_for(
            lambda: "prefork: worker 0 [web] booting gen 2" in server.titles(), "a booting title"
        )
        gate.open()
        assert read_response(held)[0] == 200


def test_the_title_of_a_draining_worker_says_so(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--linger", "20s") as server:
        held = send_request(server.port)
        assert read_response(held, close=False)[0] == 200
        server.send(signal.SIGHUP)
        wait_for(
            lambda: "prefork: worker 0 [app] draining gen 1" in server.titles(), "a draining title"
        )
        held.close()
        server.wait_all_ready(1, 2)


def test_the_name_is_that_of_the_module(tmp_path: Path) -> None:
    with serving(tmp_path, "prefork.demo:wsgi") as server:
        server.wait_title(r"^prefork: master \[prefork\.demo\] running")


def test_titles_can_be_renamed_and_turned_off(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--proctitle", "shop") as server:
        server.wait_title(r"^shop: master \[app\] running")
        assert server.titles() == ["shop: worker 0 [app] ready gen 1"]
    with serving(tmp_path, "app:app", "--proctitle", "off") as server:
        assert " -m prefork " in server.title()
        assert " -m prefork " in server.titles()[0]


# Costs.

MOST_WAKES = 5
MOST_MEMORY = 20 * 1024 * 1024


def test_an_idle_master_uses_no_cpu(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", workers=4) as server:
        server.wait_title("running gen 1, 4/4 ready$")
        master = psutil.Process(server.pid)
        wait_for(lambda: master.status() == psutil.STATUS_SLEEPING, "it rests")
        with master.oneshot():
            before, woke = master.cpu_times(), master.num_ctx_switches().voluntary
        # The test is about these two seconds, in which nothing happens.
        until = time.monotonic() + 2.0
        wait_for(lambda: time.monotonic() > until, "two seconds pass")
        with master.oneshot():
            after, woken = master.cpu_times(), master.num_ctx_switches().voluntary
            memory = master.memory_full_info().uss
        used = after.user + after.system - before.user - before.system
        print(f"cpu {used * 1000:.0f} ms, {woken - woke} wakes, {memory / 2**20:.1f} MiB private")
        assert used <= 0.01
        assert woken - woke <= MOST_WAKES
        assert memory < MOST_MEMORY


def test_a_master_that_waits_to_refill_a_slot_is_idle_as_well(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", workers=2) as server:
        write_version(tmp_path, 2, code="os._exit(3)")
        server.workers()[0].kill()
        server.wait_log(r"a new one in [\d.]+s", 5)
        master = psutil.Process(server.pid)
        before = master.num_ctx_switches().voluntary
        server.wait_log(r"a new one in [\d.]+s", 6)
        # A fork, the end of a ready pipe, a death and a log line wake it, but no busy loop.
        assert master.num_ctx_switches().voluntary - before < 40
