"""--stop-delay: health checks fail after the stop signal, the app is served, then it drains."""

import os
import signal
from pathlib import Path

import pytest

from tests.live.app_sources import write_version
from tests.live.harness import serving
from tests.live.home import APP, temporary_home
from tests.live.raw_client import get, tcp
from tests.live.status_server import wait_readiness


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_clients_are_served_and_told_to_leave_until_a_second_signal(
    tmp_path: Path, interface: str
) -> None:
    write_version(tmp_path, 1, interface)
    arguments = ("--stop-delay", "10m", "--status", "127.0.0.1:0")
    with serving(tmp_path, "app:app", *arguments, workers=2) as server:
        wait_readiness(server, 200, "ready")
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")  # without a delay
        with tcp(server) as old:
            assert not old.send(get("/")).answer().closes
            server.send(signal.SIGTERM)
            wait_readiness(server, 503, "stopping")
            while not old.send(get("/")).answer().closes:  # its worker may not have had a turn yet
                pass
            assert old.read_to_end() == b""
        with tcp(server) as new:
            assert new.send(get("/")).answer().closes
        os.kill(int(server.wait_log(r"worker 0 \(pid (\d+), gen 2\) ready")[1]), signal.SIGKILL)
        server.wait_log(r"worker \d+ .*gen 2\) ready", 3)
        with tcp(server) as new:
            assert new.send(get("/")).answer().closes
        server.send(signal.SIGTERM)
        assert server.wait_exit() == 0
        assert server.count("stopping after --stop-delay 10m") == 1
        assert server.count("--stop-delay is skipped") == 1


def test_the_delay_ends_by_itself(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--stop-delay", "100ms") as server:
        assert server.stop() == 0
        assert server.count("--stop-delay is over") == 1


def test_a_restart_has_no_delay_because_the_sockets_stay_open(tmp_path: Path) -> None:
    with temporary_home(tmp_path) as home:
        home.write("web.py", APP.format(text="one"))
        home.write("p.toml", 'app = "web:app"\nbind = "127.0.0.1:0"\nstop-delay = "10m"\n')
        home.run_ok("start", "-c", "p.toml", "-n", "web")
        assert "web: running" in home.run_ok("restart", "--stop-first", "web")
        home.run_ok("stop", "--quick", "web")
