"""``prefork report APP --state``: all that a master knows and holds, as one structure."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from prefork.json_records import dump_record, load_record
from prefork.master.master_record import MasterRecord
from prefork.pool import Pool
from prefork.pool.goals import ReloadGoal, load_goal
from tests.live.harness import wait_for
from tests.live.home import APP, Home, temporary_home

POLLER = "anon_inode:[eventpoll]"
"""A descriptor that is nothing but the poller of this process: the next one makes its own."""

SETTINGS = """\
app = "shop:app"
name = "shop"
bind = ["127.0.0.1:0", "unix:shop.sock"]
workers = 2
log-dir = "."
status = "127.0.0.1:0"
watch = true
pid-file = "shop.pid"
env = { PASSWORD = "hunter2" }
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        made.write("shop.py", APP.format(text="one"))
        yield made


def start(home: Home, settings: str = SETTINGS) -> None:
    home.write("shop.toml", settings)
    home.run_ok("start", "shop.toml")


def read_state(home: Home) -> tuple[dict[str, Any], MasterRecord]:
    """Return the state as JSON, and the structure that it is."""
    printed: dict[str, Any] = json.loads(home.run_ok("report", "shop", "--state"))
    return printed, load_record(MasterRecord, printed)


def held(record: MasterRecord) -> dict[int, str]:
    """Return the role of each descriptor in the record."""
    found = {fd: role for role, fd in record.descriptors.items()}
    for each in (*record.workers, *record.auxiliary):
        found.update((fd, f"{role} of {each.pid}") for role, fd in each.descriptors.items())
    found.update((each.descriptor, each.stream.stream) for each in record.outputs)
    for listener in (*record.listeners, *record.status_listeners):
        found[listener.descriptor] = listener.address
    found.update((each.descriptor, f"client {each.pid}") for each in record.clients)
    return found


def open_files(pid: int) -> dict[int, str]:
    """Return what each descriptor of a process leads to."""
    folder = Path(f"/proc/{pid}/fd")
    return {int(each.name): os.readlink(each) for each in folder.iterdir()}


def test_the_state_comes_back_as_it_was(home: Home) -> None:
    start(home)
    printed, record = read_state(home)
    assert dump_record(record) == printed
    pool = Pool.load(printed["pool"], Random(1))
    assert (pool.state, pool.ready_count, pool.plan.generation) == ("running", 2, 1)
    assert {each.pid for each in record.workers} == {worker.pid for worker in pool.workers}
    assert sorted(each.name for each in record.auxiliary) == [
        "log writer",
        "status server",
        "watcher",
    ]
    assert "hunter2" not in json.dumps(printed)


def test_every_descriptor_of_the_master_has_a_role(home: Home) -> None:
    start(home)
    assert_all_have_roles(read_state(home)[1])


def test_every_descriptor_of_a_program_has_a_role(home: Home) -> None:
    home.run_ok("start", "--name", "shop", "--log-dir", ".", "--", "sleep", "600")
    _, record = read_state(home)
    (worker,) = record.workers
    assert {"notify", "figures", "stderr", "stderr_target"} < set(worker.descriptors)
    assert "guard" in record.descriptors
    assert_all_have_roles(record)


def assert_all_have_roles(record: MasterRecord) -> None:
    """Assert that the record names each descriptor of its master, and no other."""
    roles, files = held(record), open_files(record.pid)
    clients = {each.descriptor for each in record.clients}
    assert set(roles) - clients <= set(files)
    unknown = {fd: file for fd, file in files.items() if fd > 2 and fd not in roles}
    assert [file for file in unknown.values() if file != POLLER] == []


def test_a_client_that_waits_is_in_the_state(home: Home) -> None:
    start(home, SETTINGS.replace("watch = true\n", ""))
    home.write("shop.py", "import time\ntime.sleep(600)\n")
    words = [sys.executable, "-m", "prefork", "reload", "shop"]
    with subprocess.Popen(words, cwd=home.folder, env=home.environ()) as client:
        try:
            goals = wait_for(lambda: waiting_goals(home, client.pid), "the client in the state")
        finally:
            client.terminate()
    printed, _ = read_state(home)
    (goal,) = (load_goal(dumped, Pool.load(printed["pool"], Random(1))) for dumped in goals)
    assert isinstance(goal, ReloadGoal)
    assert goal.requested == goal.newest == 2
    assert printed["pool"]["state"] == "reloading"
    assert printed["pool"]["fallback"]["generation"] == 1
    assert sorted(printed["generations"]) == ["1", "2"]


def waiting_goals(home: Home, pid: int) -> list[dict[str, Any]]:
    _, record = read_state(home)
    return [each.goal for each in record.clients if each.pid == pid and each.goal is not None]
