"""Apps of a PM2 ecosystem file serve where, and watch what, they do under PM2."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import wait_for
from tests.live.home import Home, fetch, temporary_home
from tests.live.programs import needs_node

pytestmark = needs_node

SERVER = """\
require('http').createServer((request, response) => {
  response.end(`${process.env.STAGE} ${process.env.PORT}`);
}).listen(process.env.PORT, process.env.HOST);
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as home:
        home.write("server.js", SERVER)
        yield home


def free_port() -> int:
    """Return a port that no program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def write_ecosystem(home: Home, **entry: Any) -> None:
    app = {"name": "api", "script": "server.js", "instances": 2, **entry}
    home.write("ecosystem.config.js", f"module.exports = {json.dumps({'apps': [app]})};")


def env(stage: str, port: int) -> dict[str, object]:
    return {"STAGE": stage, "PORT": port, "HOST": "127.0.0.1"}


def test_the_port_of_a_stage_is_shared_in_that_stage(home: Home) -> None:
    first, second = free_port(), free_port()
    write_ecosystem(
        home, exec_mode="cluster", env=env("dev", first), env_production=env("prod", second)
    )
    for words, stage, port in ((["--env", "production"], "prod", second), ([], "dev", first)):
        home.run_ok("start", "ecosystem.config.js", *words)
        app = home.app("api")
        assert app["listening"] == [f"127.0.0.1:{port}"]
        assert fetch(app) == f"{stage} {port}".encode()
        home.run_ok("reload", "api")
        assert home.app("api")["listening"] == [f"127.0.0.1:{port}"]
        home.run_ok("delete", "api")


def test_instances_of_a_node_script_share_the_port_without_exec_mode(home: Home) -> None:
    write_ecosystem(home, env=env("dev", free_port()))
    home.run_ok("start", "ecosystem.config.js")
    assert len(home.app("api")["workers"]) == 2
    assert fetch(home.app("api")).startswith(b"dev ")


def test_a_script_without_a_suffix_that_names_node_shares_the_port(home: Home) -> None:
    (home.folder / "bin").mkdir()
    home.write("bin/www", f"#!/usr/bin/env node\n{SERVER}")
    (home.folder / "bin" / "www").chmod(0o755)
    write_ecosystem(home, script="bin/www", env=env("dev", free_port()))
    home.run_ok("start", "ecosystem.config.js")
    assert fetch(home.app("api")).startswith(b"dev ")


def test_an_executable_without_a_folder_is_started(home: Home) -> None:
    home.write("job", "#!/bin/sh\nexec sleep 1000\n")
    (home.folder / "job").chmod(0o755)
    write_ecosystem(home, script="job", instances=1)
    home.run_ok("start", "ecosystem.config.js")
    assert home.app("api")["state"] == "running"


def test_paths_of_an_ecosystem_file_start_at_the_folder_of_the_app(home: Home) -> None:
    app = home.folder / "app"
    (app / "src").mkdir(parents=True)
    (app / "src" / "tmp").mkdir()
    shutil.move(home.folder / "server.js", app / "server.js")
    write_ecosystem(
        home,
        cwd="app",
        env=env("dev", free_port()),
        watch=["src"],
        ignore_watch=["./src/tmp"],
        pid_file="api.pid",
    )
    home.run_ok("start", "ecosystem.config.js")
    assert int((app / "api.pid").read_text()) == home.app("api")["pid"]
    (app / "src" / "tmp" / "ignored.js").write_text("1")
    (app / "src" / "changed.js").write_text("1")
    wait_for(lambda: home.app("api")["generation"] == 2, "it is reloaded")
    log = home.run_ok("logs", "api")
    assert f"watching {app}/src" in log
    assert "ignored.js" not in log


def test_paths_of_a_procfile_start_at_its_folder(home: Home) -> None:
    home.write("Procfile", "web: gunicorn web:app -b unix:web.sock --pid web.pid\n")
    home.run_ok("start", "Procfile")
    assert (home.folder / "web.sock").is_socket()
    assert (home.folder / "web.pid").is_file()
    (home.folder / "app").mkdir()
    os.rename(home.folder / "web.py", home.folder / "app" / "web.py")
    home.write("Procfile", "in: gunicorn web:app --chdir app -b unix:in.sock\n")
    home.run_ok("start", "Procfile", "--prune")
    assert (home.folder / "app" / "in.sock").is_socket()


def test_paths_of_a_server_of_supervisor_start_at_its_directory(home: Home) -> None:
    (home.folder / "app").mkdir()
    os.rename(home.folder / "web.py", home.folder / "app" / "web.py")
    home.write(
        "supervisord.conf",
        "[program:web]\ncommand=gunicorn web:app -b unix:web.sock --pid web.pid\ndirectory=app\n",
    )
    home.run_ok("start", "supervisord.conf")
    assert (home.folder / "app" / "web.sock").is_socket()
    assert (home.folder / "app" / "web.pid").is_file()
