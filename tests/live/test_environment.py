"""Settings of a platform and an env-file, a log in JSON, and requests that the access log skips."""

import json
import signal
from pathlib import Path

from tests.live.harness import Server, command, wait_for

APP = """\
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["ANSWER"].encode()]
"""


def test_a_platform_starts_an_app_without_a_flag_and_reads_its_log(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / ".env").write_text("ANSWER=one\nPORT=8000\n")
    access = tmp_path / "access"
    environ = {
        "PORT": "0",
        "WEB_CONCURRENCY": "2",
        "PREFORK_LOG_FORMAT": "json",
        "PREFORK_ENV_FILE": ".env",
        "PREFORK_ACCESS_LOG": str(access),
        "PREFORK_ACCESS_LOG_SKIP": "/healthz",
    }
    server = Server("app:app", cwd=tmp_path, env=environ)
    try:
        server.ready(2)
        assert server.get("/healthz") == (200, b"one")
        assert server.get("/") == (200, b"one")
        (tmp_path / ".env").write_text("ANSWER=two\n")
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        assert server.get("/") == (200, b"two")
        (tmp_path / ".env").write_text("ANSWER='open\n")
        server.send(signal.SIGHUP)
        server.wait_log("reload failed, gen 2 serves on: .*/.env, line 1: no KEY=VALUE")
        assert server.get("/") == (200, b"two")
        wait_for(lambda: access.read_text().count("\n") == 3, "three requests in the access log")
        assert server.stop() == 0
    finally:
        server.destroy()
    records = [json.loads(line) for line in server.lines]
    assert {tuple(record) for record in records} == {
        ("time", "pid", "slot", "stream", "level", "text")
    }
    said = [record["text"] for record in records]
    assert f"{tmp_path}/.env sets 2 variables, but the environment has its own PORT" in said
    assert "PORT in the environment sets bind = 0.0.0.0:0" in said
    assert "WEB_CONCURRENCY in the environment sets workers = 2" in said
    assert [json.loads(line)["path"] for line in access.read_text().splitlines()] == ["/"] * 3


def test_an_error_of_the_start_is_json_as_well(tmp_path: Path) -> None:
    done = command("--log-format", "json", "-w", "many", "x:app", cwd=tmp_path)
    assert done.returncode == 100
    assert json.loads(done.stderr)["text"].startswith("command line: --workers = 'many' is wrong")
