"""A reload loses no request, brings new code, and keeps the old code when the new is broken."""

import os
import re
import signal
import time
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.live.app_sources import HOLD, write_version
from tests.live.client_load import client_load
from tests.live.harness import Server, serving, wait_for
from tests.live.held_requests import Gate, is_closed, read_response, send_request
from tests.live.reloads import assert_nothing_lost, reload

RELOADS = 20


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_twenty_reloads_under_load_lose_no_request(tmp_path: Path, interface: str) -> None:
    write_version(tmp_path, 1, interface)
    with serving(tmp_path, "app:app", workers=4) as server, client_load(server.port) as clients:
        clients.run_phase("quiet", 1500)
        for n in range(2, 2 + RELOADS):
            # The source has the same size each time, and often the same second as the last version.
            write_version(tmp_path, n, interface)
            clients.begin_phase(f"reload {n}")
            reload(server, n)
            clients.run_phase(f"reloaded {n}", 150)
        report = clients.stop()
        assert_nothing_lost(report)
        for n in range(2, 2 + RELOADS):
            assert list(report.phase(f"reloaded {n}").versions) == [f"{n:04d}"]
            assert set(report.phase(f"reload {n}").versions) == {f"{n - 1:04d}", f"{n:04d}"}
        assert server.stop() == 0
        assert server.is_gone()


def test_a_connection_that_was_just_accepted_when_its_worker_drains_is_served(
    tmp_path: Path,
) -> None:
    """A reload must not close a connection that was accepted just before.

    There is one client only, so that the worker has no other work that would keep it. It takes many
    reloads to meet that moment.
    """
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app") as server, client_load(server.port, 0, 1, pause=0) as clients:
        for n in range(2, 152):
            reload(server, n)
        assert not clients.stop().failures


def test_a_source_written_twice_in_the_same_second_is_read_twice(tmp_path: Path) -> None:
    """Python compares bytecode with its source by size and whole seconds only."""
    now = time.time()
    write_version(tmp_path, 1)
    os.utime(tmp_path / "app.py", (now, now))
    with serving(tmp_path, "app:app") as server:
        assert server.get()[1].startswith(b"0001 ")
        for n in (2, 3):
            write_version(tmp_path, n)
            os.utime(tmp_path / "app.py", (now, now))
            reload(server, n)
            assert server.get()[1].startswith(f"{n:04d} ".encode())


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_a_slow_import_does_not_slow_the_service(tmp_path: Path, interface: str) -> None:
    write_version(tmp_path, 1, interface)
    with (
        serving(tmp_path, "app:app", "--surge", "2", workers=4) as server,
        client_load(server.port, 16, 16) as clients,
    ):
        clients.run_phase("quiet", 800)
        write_version(tmp_path, 2, interface, "import time\ntime.sleep(3)")
        clients.begin_phase("reload")
        reload(server, 2)
        clients.run_phase("reloaded", 200)
        report = clients.stop()
    assert_nothing_lost(report)
    assert list(report.phase("reloaded").versions) == ["0002"]


def break_import(folder: Path) -> None:
    write_version(folder, 2, code="raise LookupError('no such luck')")


def break_toml(folder: Path) -> None:
    (folder / "prefork.toml").write_text("workers = \n")


def misspell_key(folder: Path) -> None:
    (folder / "prefork.toml").write_text("workerz = 2\n")


def never_get_ready(folder: Path) -> None:
    write_version(folder, 2, code="import time\ntime.sleep(60)")


def exit_at_import(folder: Path) -> None:
    write_version(folder, 2, code="os._exit(7)")


BREAKAGES: list[tuple[Callable[[Path], None], str]] = [
    (break_import, r"worker 0: app:app: importing app failed"),
    (break_toml, r"prefork\.toml is no valid TOML"),
    (misspell_key, r"prefork\.toml: no option is called 'workerz'; did you mean workers\?"),
    (never_get_ready, r"worker 0: not ready within --boot-timeout 1s: it is at"),
    (exit_at_import, r"worker 0: boot failure \(exit code 7\)"),
]


@pytest.mark.parametrize(("breakage", "reason"), BREAKAGES, ids=[b[0].__name__ for b in BREAKAGES])
def test_a_broken_reload_leaves_the_old_code_in_service(
    tmp_path: Path, breakage: Callable[[Path], None], reason: str
) -> None:
    write_version(tmp_path, 1)
    (tmp_path / "prefork.toml").write_text("workers = 3\n")
    server = Server(
        *("-c", "prefork.toml", "-b", "127.0.0.1:0", "--boot-timeout", "1s", "app:app"),
        cwd=tmp_path,
    )
    try:
        server.ready(3)
        with client_load(server.port, 8, 8) as clients:
            clients.run_phase("quiet", 300)
            before = {worker.pid for worker in server.workers()}
            breakage(tmp_path)
            clients.begin_phase("broken")
            server.send(signal.SIGHUP)
            server.wait_log(rf"reload failed, gen 1 serves on: .*{reason}")
            server.wait_title(r"reload failed, gen 1, 3/3 ready$")
            clients.run_phase("still broken", 200)
            assert {worker.pid for worker in server.workers()} == before

            write_version(tmp_path, 3)
            (tmp_path / "prefork.toml").write_text("workers = 3\n")
            clients.begin_phase("repaired")
            server.send(signal.SIGHUP)
            generation = int(server.wait_log(r"reloaded to gen (\d+) ")[1])
            server.wait_all_ready(3, generation)
            server.wait_title(rf"running gen {generation}, 3/3 ready$")
            clients.run_phase("after", 100)
            report = clients.stop()
    finally:
        server.destroy()
    assert_nothing_lost(report)
    assert set(report.phase("broken").versions) <= {"0001"}
    assert list(report.phase("still broken").versions) == ["0001"]
    assert list(report.phase("after").versions) == ["0003"]


def test_the_traceback_of_the_new_code_is_in_the_log_without_our_own_frames(
    tmp_path: Path,
) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app") as server:
        break_import(tmp_path)
        server.send(signal.SIGHUP)
        server.wait_log("LookupError: no such luck")
        assert f'File "{tmp_path}/app.py", line 2, in <module>' in server.log
        assert "/prefork/worker/" not in server.log
        assert "LookupError" not in server.wait_title("reload failed")


def test_a_reload_that_fails_half_way_goes_back(tmp_path: Path) -> None:
    """The new code starts in the first two slots and fails in the third."""
    write_version(tmp_path, 1)
    with (
        serving(tmp_path, "app:app", workers=3) as server,
        client_load(server.port, 8, 8) as clients,
    ):
        clients.run_phase("quiet", 300)
        # Only the new generation fails: the old one has to come back from the same source.
        write_version(
            tmp_path,
            2,
            code="import prefork\n"
            "who = prefork.worker()\n"
            "if who.slot == 2 and who.generation == 2: raise LookupError('not here')",
        )
        clients.begin_phase("reload")
        server.send(signal.SIGHUP)
        server.wait_log(r"worker 1 .*gen 2\) ready")
        server.wait_log(r"reload failed, gen 1 serves on")
        server.wait_all_ready(3, 1)
        report = clients.stop()
    assert_nothing_lost(report)


def test_a_request_in_flight_keeps_its_old_worker_until_it_is_answered(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    write_version(tmp_path, 1, code=HOLD)
    with serving(tmp_path, "app:app") as server:
        old = server.workers()[0].pid
        held = send_request(server.port, "/hold")
        gate.wait_entered()
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        assert server.get()[0] == 200
        assert old in [worker.pid for worker in server.workers()]
        gate.open()
        assert read_response(held) == (200, b"held")
        server.wait_log(rf"pid {old}, gen 1\) gone: reload")


def test_an_active_client_gets_connection_close_with_its_last_answer(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--linger", "20s") as server:
        talker, sleeper = send_request(server.port), send_request(server.port)
        try:
            for connection in (talker, sleeper):
                assert read_response(connection, close=False)[0] == 200
            server.send(signal.SIGHUP)
            server.wait_log("reloaded to gen 2")

            def told() -> bool:
                talker.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
                response = HTTPResponse(talker)
                response.begin()
                assert response.status == 200
                assert response.read().startswith(b"0001 ")
                return response.getheader("Connection") == "close"

            wait_for(told, "the server says that it will close")
            wait_for(lambda: is_closed(talker), "and does")
            assert not is_closed(sleeper), "it may still ask"
        finally:
            talker.close()
            sleeper.close()
        server.wait_log(r"gen 1\) gone: reload")


def test_an_idle_connection_is_closed_after_the_linger(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with serving(tmp_path, "app:app", "--linger", "100ms") as server:
        sleeper = send_request(server.port)
        try:
            assert read_response(sleeper, close=False)[0] == 200
            server.send(signal.SIGHUP)
            wait_for(lambda: is_closed(sleeper), "the idle connection is closed")
        finally:
            sleeper.close()
        server.wait_log(r"gen 1\) gone: reload")


def test_a_reload_changes_the_number_of_workers_and_the_timeouts(tmp_path: Path) -> None:
    write_version(tmp_path, 1, code="import time\ndef stuck():\n    time.sleep(3600)")
    config = tmp_path / "prefork.toml"
    config.write_text("workers = 1\ntimeout = '60s'\n")
    server = Server("-c", "prefork.toml", "-b", "127.0.0.1:0", "app:app", cwd=tmp_path)
    try:
        server.ready()
        config.write_text("workers = 3\ntimeout = '500ms'\n")
        server.send(signal.SIGHUP)
        server.wait_all_ready(3, 2)
        send_request(server.port, "/stuck").close()
        server.wait_log("passed its deadline")
        config.write_text("workers = 2\ntimeout = '60s'\n")
        server.send(signal.SIGHUP)
        server.wait_all_ready(2, 3)
    finally:
        server.destroy()


@pytest.mark.parametrize(
    ("key", "value"),
    [("umask", "'077'"), ("pid-file", "'x.pid'"), ("log-file", "'x.log'"), ("name", "'other'")],
)
def test_a_change_that_takes_a_restart_is_not_swallowed(
    tmp_path: Path, key: str, value: str
) -> None:
    """The change is applied, or the log has a line that it was not."""
    write_version(tmp_path, 1)
    config = tmp_path / "prefork.toml"
    config.write_text("")
    with serving(tmp_path, "app:app", "-c", "prefork.toml") as server:
        config.write_text(f"{key} = {value}\n")
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        assert re.search(rf"changing {key} takes a restart", server.log)
