"""A Python environment that is moved or upgraded while its master runs.

Modules that the settings in force may need are imported before the fork; missing ones are named.
"""

import http.client
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest

from tests.certificates import Keyring
from tests.live.harness import APPS, PATIENCE, Server, wait_for
from tests.live.held_requests import read_response, send_request
from tests.live.raw_client import get
from tests.live.tls_client import connect_tls
from tests.live.websocket_client import Frame, connect_websocket

NEEDED = ("setproctitle", "psutil", "toml", "uvloop", "httptools", "websockets", "cronsim")


def environment(folder: Path) -> Path:
    """Copies of prefork and of what serving needs."""
    for name in NEEDED:
        for file in metadata.files(name) or ():
            if not file.parts[0].startswith("..") and "__pycache__" not in file.parts:
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target)
    shutil.copytree(
        APPS.parent.parent / "prefork", folder / "prefork", ignore=lambda _, __: ["__pycache__"]
    )
    return folder


@contextmanager
def served(tmp_path: Path, *arguments: str, home: Path | None = None) -> Iterator[Server]:
    """From an environment in the folder ``env``, without any other (-S)."""
    words = ("-b", "127.0.0.1:0", "-w", "1", "--pythonpath", str(APPS), *arguments)
    env = {"PYTHONPATH": str(tmp_path / "env")}
    server = Server(*words, cwd=tmp_path, env=env, program=(sys.executable, "-S", "-m", "prefork"))
    try:
        yield server.ready()
    finally:
        server.destroy()


def move(tmp_path: Path) -> None:
    (tmp_path / "env").rename(tmp_path / "moved")


def test_a_first_websocket_needs_no_moved_module(tmp_path: Path) -> None:
    environment(tmp_path / "env")
    with served(tmp_path, "sockets:app") as server:
        move(tmp_path)
        with connect_websocket(server, "/echo") as wire:
            wire.send_frames(Frame(1, b"hello"))
            assert wire.read_frame().payload == b"hello"
        assert server.count("Error") == 0


def test_tls_logs_status_and_reloads_need_no_moved_module(tmp_path: Path, keys: Keyring) -> None:
    environment(tmp_path / "env")
    arguments = (
        *("--tls-cert", keys.site.pair, "--access-log", "access", "--log-dir", "logs"),
        *("--status", "127.0.0.1:0", "--slow-log", "10s", "--timeout", "1s", "-n", "moved"),
    )
    with served(tmp_path, *arguments, "web_asgi:app") as server:
        status = int(server.wait_log(r"status on [^ ]*:(\d+)")[1])
        move(tmp_path)
        with connect_tls(server, keys.ca.trusting()) as wire:
            assert wire.send(get("/hello")).answer().status == 200
        assert is_up(status)
        # Successors of the auxiliary processes are forked from the same master.
        workers = {worker.pid for worker in server.workers() if "worker 0" in title(worker)}
        for helper in server.workers():
            if helper.pid not in workers:
                helper.send_signal(signal.SIGKILL)
        wait_for(lambda: is_up(status), "the successor of the status server")
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        with connect_tls(server, keys.ca.trusting()) as wire:
            assert wire.send(get("/hello")).answer().status == 200
        assert server.stop() == 0
        assert server.count("Traceback|ModuleNotFound|ImportError|FileNotFound|bug") == 0


def title(process: object) -> str:
    return " ".join(process.cmdline())  # type: ignore[attr-defined]


def is_up(port: int) -> bool:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        client.request("GET", "/")
        return client.getresponse().status == 200
    except OSError:
        return False
    finally:
        client.close()


@pytest.mark.parametrize("interface", ["auto", "asgi"])
def test_without_websockets_http_is_served_and_the_log_says_what_is_missing(
    tmp_path: Path, interface: str
) -> None:
    env = environment(tmp_path / "env")
    shutil.rmtree(env / "websockets")
    with served(tmp_path, "--interface", interface, "sockets:app") as server:
        server.wait_log("WebSockets get a 500: No module named 'websockets.*restart the master")
        upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        assert read_response(send_request(server.port, "/echo", upgrade + key))[0] == 500
        server.wait_log("no WebSocket for GET /echo: the Python environment")
        assert server.count("Traceback") == 0


def test_a_reload_that_needs_a_moved_module_is_refused_with_the_remedy(tmp_path: Path) -> None:
    environment(tmp_path / "env")
    config = tmp_path / "prefork.toml"
    config.write_text("")
    with served(tmp_path, "-c", str(config), "sockets:app") as server:
        move(tmp_path)
        config.write_text('cron = ["0 4 * * *"]\n')
        server.send(signal.SIGHUP)
        server.wait_log(r"reload failed, gen 1 serves on: .*No module named 'cronsim'.*restart")
        assert server.count("Traceback|bug") == 0
        os.kill(server.workers()[0].pid, 0)
