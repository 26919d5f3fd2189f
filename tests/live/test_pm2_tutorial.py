"""PM2's tutorial, step by step, with the same Node app; the manual has the same steps.

Fork mode, cluster mode on all cores, list, scale +4, scale 4, reload, logs, stop, delete, and an
ecosystem file with the equivalent of ``instances: 0``.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefork.unix.cores import usable_cores
from tests.live.harness import APPS
from tests.live.home import Home, fetch, temporary_home

pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")

SINGLE = "console.log('tick'); setInterval(() => {}, 1000);"
CLUSTER = ("-b", "127.0.0.1:0", "--name", "api", "--ready", "1s")

ECOSYSTEM = """
[apps.api]
command = ["node", "server.js"]
bind = ["127.0.0.1:0"]
workers = 0
ready = "1s"

[apps.tick]
command = ["node", "tick.js"]
ready = "1s"
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as home:
        home.write("server.js", (APPS / "server.js").read_text())
        home.write("tick.js", SINGLE)
        yield home


def slots(home: Home, name: str) -> list[int]:
    return [worker["slot"] for worker in home.app(name)["workers"]]


def test_fork_mode_runs_one_process_and_keeps_it_alive(node: Home) -> None:
    node.run_ok("start", "--name", "tick", "--ready", "1s", "--", "node", "tick.js")
    assert slots(node, "tick") == [0]
    assert "tick" in node.run_ok("logs", "tick")
    assert node.run_ok("delete", "tick") == "tick: stopped\ntick: deleted\n"


def test_cluster_mode_works_from_start_to_delete(node: Home) -> None:
    cores = usable_cores()
    node.run_ok("start", "-w", "0", *CLUSTER, "--", "node", "server.js")
    assert len(slots(node, "api")) == cores
    assert "running" in node.run_ok("list")
    assert node.run_ok("scale", "api", "+4") == f"api: {cores + 4} workers\n"
    assert node.run_ok("scale", "api", "4") == "api: 4 workers\n"
    assert slots(node, "api") == [0, 1, 2, 3]
    before = {worker["pid"] for worker in node.app("api")["workers"]}
    assert "reloaded to gen 2" in node.run_ok("reload", "api")
    assert not before & {worker["pid"] for worker in node.app("api")["workers"]}
    assert fetch(node.app("api")).startswith(b"0001 ")
    assert "reloaded to gen 2" in node.run_ok("logs", "api")
    assert node.run_ok("stop", "api") == "api: stopped\n"
    assert node.app("api")["state"] == "stopped"
    assert node.run_ok("delete", "api") == "api: deleted\n"
    assert json.loads(node.run_ok("list", "--json")) == []


@pytest.mark.slow
def test_a_file_of_apps_starts_a_worker_for_each_core(node: Home) -> None:
    node.write("prefork.toml", ECOSYSTEM)
    node.run_ok("start", "prefork.toml")
    assert len(slots(node, "api")) == usable_cores()
    assert slots(node, "tick") == [0]
    assert node.run_ok("start", "prefork.toml") == "api: unchanged\ntick: unchanged\n"
    node.run_ok("delete", "all")
    assert json.loads(node.run_ok("list", "--json")) == []
