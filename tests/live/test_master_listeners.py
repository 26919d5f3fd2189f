"""The listening sockets over reloads: kept, updated, opened and closed."""

import os
import shutil
import signal
import socket
import stat
import sys
import uuid
from pathlib import Path

import psutil
import pytest

from tests.live.app_sources import ASYNC_HOLD, write_version
from tests.live.harness import PATIENCE, Server, command, serving, wait_for
from tests.live.held_requests import Gate, ask_unix, read_response, send_request
from tests.live.home import temporary_home
from tests.live.stopped_processes import has_pending, stop_process


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_version(tmp_path, 1)
    return tmp_path / "prefork.toml"


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def test_a_reload_changes_the_mode_of_a_unix_socket_and_nothing_else(config: Path) -> None:
    """Two generations that share a socket: the end of the first must not close it."""
    path = config.parent / "app.sock"
    config.write_text("bind = 'unix:app.sock,mode=600'\n")
    server = Server("-c", "prefork.toml", "app:app", cwd=config.parent)
    try:
        server.ready()
        for generation, mode in ((2, 0o660), (3, 0o606)):
            config.write_text(f"bind = 'unix:app.sock,mode={mode:o}'\n")
            server.send(signal.SIGHUP)
            server.wait_all_ready(1, generation)
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert ask_unix(path).startswith(b"HTTP/1.1 200 OK\r\n")
        server.send(signal.SIGTTIN)
        server.wait_all_ready(2, 3)
        assert not server.count("ERROR")
        assert server.stop() == 0
        assert not path.exists()
    finally:
        server.destroy()


def test_a_removed_unix_path_is_back_after_a_reload(config: Path) -> None:
    path = config.parent / "app.sock"
    server = Server("-b", "unix:app.sock", "app:app", cwd=config.parent)
    try:
        server.ready()
        path.unlink()
        server.send(signal.SIGHUP)
        server.wait_all_ready(1, 2)
        assert ask_unix(path).startswith(b"HTTP/1.1 200 OK\r\n")
    finally:
        server.destroy()


def test_a_reload_to_an_address_that_overlaps_is_refused_with_the_next_step(config: Path) -> None:
    with serving(config.parent, "app:app") as first:
        port = first.port
        assert first.stop() == 0
    config.write_text(f"bind = '127.0.0.1:{port}'\n")
    server = Server("-c", "prefork.toml", "app:app", cwd=config.parent)
    try:
        server.ready()
        config.write_text(f"bind = '0.0.0.0:{port}'\n")
        server.send(signal.SIGHUP)
        told = server.wait_log("reload failed, gen 1 serves on: (.*)")[1]
        assert f"this server listens on 127.0.0.1:{port} itself" in told
        assert "restart" in told
        assert server.get()[0] == 200
    finally:
        server.destroy()


def test_an_old_address_is_closed_although_an_old_worker_is_still_busy(
    config: Path, gate: Gate
) -> None:
    write_version(config.parent, 1, "asgi", ASYNC_HOLD)
    config.write_text("bind = '127.0.0.1:0'\n")
    server = Server("-c", "prefork.toml", "app:app", cwd=config.parent)
    try:
        server.ready()
        held = send_request(server.port, "/hold")
        gate.wait_entered()
        config.write_text("bind = 'unix:new.sock'\n")
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        wait_for(lambda: refused(server.port), "the old port is closed")
        assert ask_unix(config.parent / "new.sock").startswith(b"HTTP/1.1 200 OK\r\n")
        gate.open()
        assert read_response(held) == (200, b"held")
        server.wait_log(r"gen 1\) gone: reload")
        assert ask_unix(config.parent / "new.sock").startswith(b"HTTP/1.1 200 OK\r\n")
    finally:
        server.destroy()


def test_the_end_of_a_roll_closes_no_address_of_the_reload_that_was_asked_beside_it(
    config: Path,
) -> None:
    """The stopped master reads two events at once: the old worker ended, and a SIGHUP."""
    config.write_text("bind = '127.0.0.1:0'\n")
    server = Server("-c", "prefork.toml", "app:app", cwd=config.parent)
    try:
        server.ready()
        port = server.port
        (old,) = server.workers()
        stop_process(old)
        server.send(signal.SIGHUP)
        wait_for(lambda: has_pending(old, signal.SIGTERM), "the old worker is told to leave")
        stop_process(psutil.Process(server.pid))
        old.resume()
        wait_for(lambda: old.status() == psutil.STATUS_ZOMBIE, "the old worker has left")
        config.write_text("bind = 'unix:new.sock'\n")
        server.send(signal.SIGHUP)
        server.send(signal.SIGCONT)
        server.wait_log("reloaded to gen 3")
        assert ask_unix(config.parent / "new.sock").startswith(b"HTTP/1.1 200 OK\r\n")
        wait_for(lambda: refused(port), "the old port is closed")
    finally:
        server.destroy()


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


_BACKLOG = """
import asyncio, socket, struct

async def serve(listener):
    async def talk(reader, writer):
        await reader.readuntil(b"\\r\\n\\r\\n")
        # For a listening socket tcpi_sacked is the length of its queue (tcp_get_info in Linux).
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        body = b"%d" % struct.unpack_from("=I", info, 28)
        head = b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n"
        writer.write(head % len(body) + body)
        writer.close()
    async with await asyncio.start_server(talk, sock=listener) as server:
        await server.serve_forever()
"""


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_a_main_that_starts_a_server_leaves_the_backlog_to_the_operator(
    config: Path, kind: str
) -> None:
    main = {"async": "app = serve", "plain": "def app(listener): asyncio.run(serve(listener))"}
    (config.parent / "app.py").write_text(_BACKLOG + main[kind] + "\n")
    config.write_text("backlog = 7\nkill-timeout = '500ms'\n")
    with serving(config.parent, "app:app", "-c", "prefork.toml") as server:
        assert server.get() == (200, b"7")
        config.write_text("backlog = 9\nkill-timeout = '500ms'\n")
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        assert server.get() == (200, b"9")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs no permission to fail")
def test_a_missing_access_log_is_reported_and_old_workers_serve_on(config: Path) -> None:
    logs = config.parent / "logs"
    logs.mkdir()
    with serving(config.parent, "app:app", "--access-log", str(logs / "access.log")) as server:
        shutil.rmtree(logs)
        server.send(signal.SIGTTIN)
        server.wait_log(r"worker 1 .* gone: boot failure .*: cannot write the log .*access\.log")
        assert not server.count("Traceback|exit code 101")
        assert server.get()[0] == 200


def ask_abstract(address: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(f"\0{address.removeprefix('unix:@')}")
        connection.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        return connection.recv(65536)


def test_an_abstract_socket_survives_reloads_and_leaves_no_file(config: Path) -> None:
    address = f"unix:@prefork-{uuid.uuid4()}"
    config.write_text(f"bind = '{address}'\n")
    before = {path.name for path in config.parent.iterdir()}
    server = Server("-c", "prefork.toml", "app:app", cwd=config.parent)
    try:
        server.ready()
        server.wait_log(rf"listening on {address}, 1 worker, ")
        assert ask_abstract(address).startswith(b"HTTP/1.1 200 OK\r\n")
        server.send(signal.SIGHUP)
        server.wait_all_ready(1, 2)
        assert ask_abstract(address).startswith(b"HTTP/1.1 200 OK\r\n")
        second = command("-b", address, "app:app", cwd=config.parent)
        assert second.returncode == 111
        assert f"cannot listen on {address}: another process has this name" in second.stderr
        config.write_text(f"bind = '{address}-other'\n")
        server.send(signal.SIGHUP)
        server.wait_all_ready(1, 3)
        assert ask_abstract(f"{address}-other").startswith(b"HTTP/1.1 200 OK\r\n")
        wait_for(lambda: not listens(address), "the old name is free")
        assert server.stop() == 0
        assert not listens(f"{address}-other")
        assert {path.name for path in config.parent.iterdir()} <= {*before, "__pycache__"}
    finally:
        server.destroy()


def listens(address: str) -> bool:
    try:
        ask_abstract(address)
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:
        return True  # it was in the queue when the last process closed the socket
    return True


def test_an_abstract_socket_has_no_mode(config: Path) -> None:
    done = command("-b", "unix:@app,mode=600", "app:app", cwd=config.parent)
    assert done.returncode == 100
    assert "it has neither mode nor owner" in done.stderr


def test_an_abstract_socket_is_handed_over_and_asked_for_readiness(tmp_path: Path) -> None:
    """The next master gets it, and a program that opens it counts as ready by it."""
    address = f"unix:@prefork-{uuid.uuid4()}"
    with temporary_home(tmp_path) as home:
        home.run_ok("start", "-b", address, "--name", "web", "web:app")
        assert home.app()["listening"] == [address]
        home.run_ok("restart", "--stop-first", "web")
        assert home.app()["listening"] == [address]
        assert ask_abstract(address).startswith(b"HTTP/1.1 200 OK")
        assert not list(home.folder.glob("@*"))
        home.run_ok("stop", "web")
        home.write(
            "job.py",
            "import socket, time\n"
            "sock = socket.socket(socket.AF_UNIX)\n"
            f"sock.bind(chr(0) + {address.removeprefix('unix:@')!r})\n"
            "sock.listen()\n"
            "time.sleep(1000)\n",
        )
        home.run_ok(
            *("start", "--name", "job", "--ready", f"connect:{address}"),
            *("--", sys.executable, "job.py"),
        )
        assert home.app("job")["status"] == "running gen 1, 1/1 ready"
