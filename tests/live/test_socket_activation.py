"""Sockets that a service manager opened: served, kept over reloads, and beside --bind."""

import signal
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.app_sources import ENVIRONMENT, write_version
from tests.live.harness import (
    Server,
    command,
)
from tests.live.held_requests import ask_unix, read_response, send_request
from tests.live.socket_activation import activation


def test_inherited_sockets_are_served_and_kept_over_a_reload(tmp_path: Path) -> None:
    write_version(tmp_path, 1, code=ENVIRONMENT)
    path = tmp_path / "given.sock"
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(path))
        unix.listen()
        port = tcp.getsockname()[1]
        # A request before the service runs, which is the purpose of activation.
        early = send_request(port)
        server = Server(
            *("-w", "2", "app:app"),
            cwd=tmp_path,
            prefix=activation(tcp, unix),
            pass_fds=(tcp.fileno(), unix.fileno()),
        )
        stack.callback(server.destroy)
        server.ready(2)
        assert server.port == port
        assert read_response(early)[0] == 200
        assert ask_unix(path).startswith(b"HTTP/1.1 200 OK\r\n")
        write_version(tmp_path, 2, code=ENVIRONMENT)
        server.send(signal.SIGHUP)
        server.wait_all_ready(2, 2)
        status, body = server.get("/environment")
        assert status == 200
        assert b"LISTEN_" not in body
        assert b"\r\n\r\n0002 " in ask_unix(path)
        assert server.stop() == 0
        assert path.exists(), "it is not ours to remove"
        late = send_request(port)  # the service manager still holds the socket
        late.close()


# A process between the service manager and prefork, so that LISTEN_PID is the pid of another.
IN_BETWEEN = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:], close_fds=False))"


@pytest.mark.parametrize("whose", ["ours", "our parent's"])
def test_sockets_are_taken_only_when_they_are_meant_for_this_process(
    tmp_path: Path, whose: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        prefix = activation(given)
        if whose != "ours":
            prefix += [sys.executable, "-c", IN_BETWEEN]
        ended = command(
            *("--print-config", "app:app"), cwd=tmp_path, prefix=prefix, pass_fds=[given.fileno()]
        )
    assert ended.returncode == 0
    expected = '["fd://3"]  # systemd' if whose == "ours" else '["127.0.0.1:8000"]  # default'
    assert f"bind = {expected}" in ended.stdout.splitlines()


def test_bind_and_the_service_manager_may_name_the_same_address(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    config = tmp_path / "prefork.toml"
    with ExitStack() as stack:
        given = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = given.getsockname()[1]
        config.write_text(f"bind = 'localhost:{port}'\n")
        server = Server(
            *("-c", "prefork.toml", "app:app"),
            cwd=tmp_path,
            prefix=activation(given),
            pass_fds=[given.fileno()],
        )
        stack.callback(server.destroy)
        server.ready()
        assert server.get()[0] == 200
        # A reload that would leave a passed socket without a reader is refused.
        config.write_text(f"bind = '127.0.0.2:{port}'\n")
        server.send(signal.SIGHUP)
        both = rf"systemd passes 127\.0\.0\.1:{port} \(fd://3\), and bind has 127\.0\.0\.2:{port};"
        server.wait_log(f"reload failed, gen 1 serves on: bind: {both}")
        assert server.get()[0] == 200
        assert server.stop() == 0
