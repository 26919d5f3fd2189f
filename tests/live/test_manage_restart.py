"""``prefork restart``: a reload where that is enough, otherwise a new master, and the reason."""

import errno
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.app_sources import write_version
from tests.live.client_load import client_load
from tests.live.harness import PATIENCE, serving, wait_for
from tests.live.home import APP, Home, fetch, temporary_home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        made.write("p.toml", 'app = "web:app"\nbind = "127.0.0.1:0"\nname = "web"\n')
        yield made


def change(home: Home, line: str) -> None:
    """Add a line to the settings, and change the code, so that answers show which code runs."""
    with open(home.folder / "p.toml", "a") as file:
        file.write(line + "\n")
    home.write("web.py", APP.format(text="two"))


def test_restart_reloads_where_that_is_enough(home: Home) -> None:
    home.run_ok("start", "p.toml")
    before = home.app()
    change(home, "workers = 2")
    output = home.run_ok("restart", "web")
    assert "web: nothing needs a restart" in output
    assert "web: reloaded to gen 2" in output
    after = home.app()
    assert (after["pid"], after["ready"]) == (before["pid"], 2)
    assert after["listening"] == before["listening"]
    assert fetch(after) == b"two"
    assert "web: stopped\nweb: running gen 1" in home.run_ok("restart", "--stop-first", "web")
    assert home.app()["pid"] != before["pid"]


def test_settings_that_need_a_new_master_are_named_and_take_effect(home: Home) -> None:
    home.run_ok("start", "p.toml")
    before = home.app()
    change(home, "umask = '077'\nlog-file = 'w.log'\nworkers = 2")
    assert "web: stops and starts: umask, log-file changed\n" in home.run_ok("restart", "web")
    after = home.app()
    assert after["pid"] != before["pid"]
    assert (home.folder / "w.log").exists()
    assert fetch(after) == b"two"
    assert "nothing needs a restart" in home.run_ok("restart", "web")


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_no_client_is_refused_under_load(home: Home, kind: str) -> None:
    """Some clients keep their connections, others open a new one for each request."""
    write_version(home.folder, 1, kind)
    home.write("p.toml", 'app = "app:app"\nbind = "127.0.0.1:0"\nname = "web"\nworkers = 2\n')
    home.run_ok("start", "p.toml")
    before = home.app()
    port = int(before["listening"][0].rpartition(":")[2])
    with client_load(port, keep=16, fresh=16) as clients:
        clients.run_phase("quiet", 200)
        for n in range(2, 5):
            write_version(home.folder, n, kind)
            with open(home.folder / "p.toml", "a") as file:
                file.write("" if n > 2 else "umask = '077'\n")
            clients.begin_phase(f"restart {n}")
            assert "running gen 1" in home.run_ok("restart", "--stop-first", "web")
            clients.run_phase(f"restarted {n}", 100)
        report = clients.stop()
    print(report)
    assert not report.failures, report
    for n in range(2, 5):
        assert list(report.phase(f"restarted {n}").versions) == [f"{n:04d}"]
    after = home.app()
    assert after["pid"] != before["pid"]
    assert after["listening"] == before["listening"]


def test_a_unix_socket_survives_a_restart(home: Home) -> None:
    """A client that connects before the new master has started is answered by it."""
    path = home.folder / "web.sock"
    home.run_ok("start", "-b", f"unix:{path},mode=660", "--name", "web", "web:app")
    inode = path.stat().st_ino
    home.run_ok("restart", "--stop-first", "web")
    assert (path.stat().st_ino, path.stat().st_mode & 0o777) == (inode, 0o660)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")
    home.run_ok("stop", "web")
    assert not path.exists()


def test_addresses_that_left_the_settings_are_closed(home: Home) -> None:
    """This includes an address that overlaps a new one, which a reload cannot change."""
    home.run_ok("start", "p.toml")
    port = int(home.app()["listening"][0].rpartition(":")[2])
    settings = f'app = "web:app"\nname = "web"\nbind = ["127.0.0.1:{port}", "unix:{{}}.sock"]\n'
    for name in ("one", "two"):
        home.write("p.toml", settings.format(name))
        home.run_ok("restart", "--stop-first", "web")
    assert [each.name for each in home.folder.glob("*.sock")] == ["two.sock"]
    home.write("p.toml", settings.format("two").replace("127.0.0.1", "0.0.0.0"))
    refused = home.run("reload", "web")
    assert "`prefork restart --stop-first` changes" in refused.stderr
    home.run_ok("restart", "--stop-first", "web")
    assert home.app()["listening"][0] == f"0.0.0.0:{port}"


def test_an_app_that_does_not_start_leaves_no_socket_open(home: Home) -> None:
    home.run_ok("start", "p.toml")
    (address,) = home.app()["listening"]
    host, _, port = address.rpartition(":")
    home.write("web.py", "1 / 0\n")
    assert "ZeroDivisionError" in home.run_failing(102, "restart", "--stop-first", "web")
    with socket.socket() as client:
        assert client.connect_ex((host, int(port))) == errno.ECONNREFUSED


def test_wrong_settings_stop_nothing(home: Home) -> None:
    home.run_ok("start", "p.toml")
    before = home.app()
    change(home, "log-flie = 'w.log'")
    assert "did you mean log-file?" in home.run_failing(100, "restart", "web")
    assert home.app()["pid"] == before["pid"]
    assert fetch(home.app()) == b"one"


def test_a_program_that_binds_its_own_port_is_stopped_first(home: Home) -> None:
    home.run_ok("start", "--name", "jobs", "--ready", "10ms", "--", "sleep", "1000")
    (before,) = [worker["pid"] for worker in home.app("jobs")["workers"]]
    assert "a program without --bind cannot be rolled" in home.run_ok("restart", "jobs")
    assert not os.path.exists(f"/proc/{before}")
    assert home.app("jobs")["ready"] == 1


def test_a_foreground_app_is_not_restarted(home: Home) -> None:
    with serving(home.folder, "web:app", env={"PREFORK_HOME": str(home.home)}) as server:
        assert "runs in the foreground" in home.run_failing(100, "restart", "web")
        assert server.get()[0] == 200


def test_an_app_that_does_not_run_is_started(home: Home) -> None:
    home.start()
    home.run_ok("stop", "web")
    assert "web: does not run\nweb: running gen 1" in home.run_ok("restart", "web")
    os.kill(home.app()["pid"], signal.SIGKILL)
    wait_for(lambda: home.app()["state"] == "dead", "it is dead")
    assert "running gen 1" in home.run_ok("restart", "web")
