"""The listening addresses: unix sockets and their mode, several of them, changes by a reload."""

import os
import signal
import socket
import stat
from pathlib import Path

import psutil
import pytest

from tests.live.app_sources import write_version
from tests.live.harness import (
    PATIENCE,
    Server,
    wait_for,
)
from tests.live.held_requests import ask_unix


def test_a_unix_socket_gets_its_mode(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    binds = ("-b", "unix:private.sock,mode=600", "-b", "unix:group.sock,mode=660")
    server = Server(*binds, "app:app", cwd=tmp_path)
    try:
        server.ready()
        for name, mode in (("private", 0o600), ("group", 0o660)):
            path = tmp_path / f"{name}.sock"
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert ask_unix(path).startswith(b"HTTP/1.1 200 OK\r\n")
        assert server.stop() == 0
        assert list(tmp_path.glob("*.sock")) == []
    finally:
        server.destroy()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_unix_socket_gets_its_owner(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    server = Server("-b", "unix:app.sock,mode=660,owner=65534:1", "app:app", cwd=tmp_path)
    try:
        server.ready()
        status = (tmp_path / "app.sock").stat()
        assert (status.st_uid, status.st_gid) == (65534, 1)
    finally:
        server.destroy()


def listening(server: Server) -> dict[str, int]:
    """Return the TCP ports that the master listens on, by address."""
    found = psutil.Process(server.pid).net_connections("tcp")
    return {c.laddr.ip: c.laddr.port for c in found if c.status == psutil.CONN_LISTEN}


def ask_at(host: str, port: int) -> bytes:
    with socket.create_connection((host, port), PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_every_bind_is_served(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    binds = ("-b", "127.0.0.1:0", "-b", "[::1]:0", "-b", "unix:app.sock")
    server = Server(*binds, "app:app", cwd=tmp_path)
    try:
        server.ready()
        for host, port in listening(server).items():
            assert ask_at(host, port).startswith(b"HTTP/1.1 200 OK\r\n")
        assert set(listening(server)) == {"127.0.0.1", "::1"}
        assert ask_unix(tmp_path / "app.sock").startswith(b"HTTP/1.1 200 OK\r\n")
        assert server.stop() == 0
    finally:
        server.destroy()


def test_a_reload_opens_new_addresses_and_closes_old_ones(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    config = tmp_path / "prefork.toml"
    config.write_text("bind = ['127.0.0.1:0', 'unix:old.sock']\n")
    server = Server("-c", "prefork.toml", "-w", "2", "app:app", cwd=tmp_path)
    try:
        server.ready(2)
        port = server.port
        config.write_text("bind = ['127.0.0.1:0', 'unix:new.sock']\n")
        server.send(signal.SIGHUP)
        server.wait_all_ready(2, 2)
        assert listening(server) == {"127.0.0.1": port}, "what is in both stays open"
        assert ask_unix(tmp_path / "new.sock").startswith(b"HTTP/1.1 200 OK\r\n")
        wait_for(lambda: not (tmp_path / "old.sock").exists(), "the old path is removed")
        assert server.get()[0] == 200

        config.write_text("bind = 'unix:new.sock'\n")
        server.send(signal.SIGHUP)
        server.wait_all_ready(2, 3)
        wait_for(lambda: listening(server) == {}, "the old port is closed")
        with pytest.raises(ConnectionRefusedError):
            ask_at("127.0.0.1", port)
        assert ask_unix(tmp_path / "new.sock").startswith(b"HTTP/1.1 200 OK\r\n")
    finally:
        server.destroy()


@pytest.mark.parametrize("address", ["taken", "unix:a\\u0000b", "a..b:80", "unix:no/such/x.sock"])
def test_a_reload_with_an_address_that_cannot_be_opened_changes_nothing(
    tmp_path: Path, address: str
) -> None:
    write_version(tmp_path, 1)
    config = tmp_path / "prefork.toml"
    config.write_text("bind = '127.0.0.1:0'\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        if address == "taken":
            address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = Server("-c", "prefork.toml", "app:app", cwd=tmp_path)
        try:
            server.ready()
            before = [worker.pid for worker in server.workers()]
            config.write_text(f'bind = ["127.0.0.1:0", "unix:fine.sock", "{address}"]\n')
            server.send(signal.SIGHUP)
            server.wait_log("reload failed, gen 1 serves on")
            assert "bug in prefork" not in server.log
            assert server.get()[0] == 200
            assert [worker.pid for worker in server.workers()] == before
            assert not (tmp_path / "fine.sock").exists(), "what was opened is closed again"
        finally:
            server.destroy()
