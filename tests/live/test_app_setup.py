"""--hooks and --log-config in workers: in order, and errors that cost no worker."""

import signal
from pathlib import Path

import pytest

from tests.live.harness import command, serving, wait_for

HOOKS = """\
import os
import logging

def note(text):
    with open("notes", "a") as file:
        file.write(f"{text}\\n")

def on_worker_start(worker):
    note(f"start {worker.slot} {worker.generation} {logging.getLogger('shop').level}")

def on_worker_ready():
    note("ready")

def on_worker_stop(worker):
    note(f"stop {worker.generation}")

def on_request_end(request):
    note(f"{request.method} {request.path} {request.status}")
"""
WSGI = """\
import myhooks

myhooks.note("import")

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""
ASGI = """\
import myhooks

myhooks.note("import")

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
"""
SOURCES = {"wsgi": WSGI, "asgi": ASGI}
LOGGING = "version = 1\n[loggers.shop]\nlevel = 10\n"
OPTIONS = ("--hooks", "myhooks", "--log-config", "logging.toml")


@pytest.mark.parametrize("interface", SOURCES)
def test_hooks_are_called_in_order_and_their_errors_cost_no_worker(
    tmp_path: Path, interface: str
) -> None:
    (tmp_path / "app.py").write_text(SOURCES[interface])
    (tmp_path / "myhooks.py").write_text(HOOKS)
    (tmp_path / "logging.toml").write_text(LOGGING)

    def notes() -> list[str]:
        return (tmp_path / "notes").read_text().splitlines()

    with serving(tmp_path, "app:app", *OPTIONS) as server:
        assert server.get("/a") == (200, b"ok")
        wait_for(lambda: "GET /a 200" in notes(), "the hook at the end of the request")
        assert notes() == ["start 0 1 10", "import", "ready", "GET /a 200"]
        (tmp_path / "logging.toml").write_text(LOGGING + "[handlers.x]\nclass = 'no.Such'\n")
        server.send(signal.SIGHUP)
        server.wait_log(r"reload failed, gen 1 serves on: .*log-config: .*logging.toml: .*no.Such")
        (tmp_path / "logging.toml").write_text("version = ")
        server.send(signal.SIGHUP)
        server.wait_log("reload failed, gen 1 serves on: .*logging.toml cannot be parsed")
        done = command("--check", *OPTIONS, "app:app", cwd=tmp_path)
        assert (done.returncode, "logging.toml cannot be parsed" in done.stderr) == (100, True)
        (tmp_path / "logging.toml").write_text(LOGGING)
        broken = HOOKS.replace('note("ready")', 'raise ValueError("cold")')
        (tmp_path / "myhooks.py").write_text(broken)
        server.send(signal.SIGHUP)
        server.wait_log("hooks: myhooks.on_worker_ready failed")
        server.wait_log("ValueError: cold")
        assert server.get("/b") == (200, b"ok")
        assert server.stop() == 0
    assert notes()[-2:] == ["GET /b 200", "stop 1"]
