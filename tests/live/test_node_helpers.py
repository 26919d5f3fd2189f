"""Helper processes beside a Node server keep their own ports (node/shim.cjs, class PortClaims)."""

import http.client
import json
import os
import socket
from pathlib import Path

import pytest

from tests.live.harness import PATIENCE, Server
from tests.live.programs import fetch_body, needs_node, running_program

pytestmark = needs_node

SHARED = ("-b", "127.0.0.1:0", "--ready", "notify")
PORT = "Number(process.env.PORT)"
CONNECTIONS = 64


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def serve(name: str, port: str, then: str = "") -> str:
    """Return the source of a server that answers with its name and prints its own port."""
    return (
        f"const {name} = require('node:http').createServer((q, s) => s.end('{name}'));\n"
        f"{name}.on('listening', () => console.error('{name} at', {name}.address().port));\n"
        f"const listen = () => {name}.listen({port}, '127.0.0.1');\n{then or 'listen();'}\n"
    )


GATED = "require('node:fs').readFile('gate', listen);"
"""Listens when the test has opened the gate."""


class Folder:
    """A folder with an admin server on a port of its own, an API and a gate."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.own = free_port()
        os.mkfifo(path / "gate")
        self.write("admin.js", serve("admin", str(self.own)))
        self.write("api.js", serve("api", PORT))

    def write(self, name: str, source: str) -> None:
        (self.path / name).write_text(source)

    def package(self, script: str) -> list[str]:
        self.write("package.json", json.dumps({"name": "app", "scripts": {"start": script}}))
        return ["npm", "start"]

    def open_gate(self) -> None:
        (self.path / "gate").write_text("open\n")

    def wait_own(self, server: Server) -> None:
        server.wait_log(f"^admin at {self.own}$")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def expect_apart(server: Server, folder: Folder) -> None:
    """The API answers each connection to the bound port, and the admin server its own port."""
    assert {fetch_body(server.port) for _ in range(CONNECTIONS)} == {b"api"}
    folder.wait_own(server)
    assert fetch_body(folder.own) == b"admin"
    assert server.count(f"admin at {server.port}$") == 0, server.log
    assert server.count("prefork: the program listens") == 0, server.log


def test_a_helper_beside_the_server_keeps_its_port(folder: Folder) -> None:
    program = folder.package("node admin.js & node api.js")
    with running_program(folder.path, program, *SHARED) as server:
        expect_apart(server, folder)


def test_a_server_that_comes_after_its_helper_gets_the_bound_port_alone(folder: Folder) -> None:
    """The server still starts, so the helper listens on its own port and gets no connection."""
    folder.write("api.js", serve("api", PORT, GATED))
    program = ["sh", "-c", "node admin.js & node api.js"]
    with running_program(folder.path, program, *SHARED, ready=False) as server:
        folder.wait_own(server)
        assert fetch_body(folder.own) == b"admin"
        assert server.count("ready in") == 0
        folder.open_gate()
        server.ready()
        assert server.count(f"port {folder.own}, but not on port .*, which node .* may take") == 1
        assert {fetch_body(server.port) for _ in range(CONNECTIONS)} == {b"api"}


def test_a_helper_that_comes_after_the_server_keeps_its_port(folder: Folder) -> None:
    folder.write("admin.js", serve("admin", str(folder.own), GATED))
    program = ["sh", "-c", "node admin.js & node api.js"]
    with running_program(folder.path, program, *SHARED) as server:
        assert fetch_body(server.port) == b"api"
        folder.open_gate()
        expect_apart(server, folder)


def test_a_server_that_a_shell_starts_later_gets_the_bound_port(folder: Folder) -> None:
    """Only the shell knows of it, but the shell still runs something else."""
    program = ["sh", "-c", "node admin.js & cat gate; node api.js"]
    with running_program(folder.path, program, *SHARED, ready=False) as server:
        folder.wait_own(server)
        assert server.count("which cat .* may take") == 1
        folder.open_gate()
        server.ready()
        assert {fetch_body(server.port) for _ in range(CONNECTIONS)} == {b"api"}


def test_a_helper_that_the_server_forks_first_keeps_its_port(folder: Folder) -> None:
    fork = "require('node:child_process').fork('./admin.js');"
    folder.write("api.js", fork + serve("api", PORT, GATED))
    with running_program(folder.path, ["node", "api.js"], *SHARED, ready=False) as server:
        folder.wait_own(server)
        assert server.count("ready in") == 0
        folder.open_gate()
        server.ready()
        assert {fetch_body(server.port) for _ in range(CONNECTIONS)} == {b"api"}


def test_a_server_that_waits_for_its_helper_gets_every_connection(folder: Folder) -> None:
    """It waits for nothing but the helper, as npm does, until the helper listens."""
    fork = "const child = require('node:child_process').fork('./admin.js');"
    folder.write("admin.js", serve("admin", str(folder.own), TELL))
    folder.write("api.js", fork + serve("api", PORT, "child.once('message', listen);"))
    with running_program(folder.path, ["node", "api.js"], *SHARED) as server:
        assert server.count("it asks for port") == 0
        assert {fetch_body(server.port) for _ in range(CONNECTIONS)} == {b"api"}
        folder.wait_own(server)
        assert fetch_body(folder.own) == b"admin"


TELL = "admin.once('listening', () => process.send('listening')); listen();"


def test_a_helper_leaves_the_bound_port_when_a_server_comes_after_all(folder: Folder) -> None:
    """Nothing tells this server from npm until it listens."""
    fork = "const child = require('node:child_process').fork('./admin.js');"
    tell = "listen(); require('node:fs').readFile('gate', () => process.send('go'));"
    folder.write("admin.js", serve("admin", str(folder.own), tell))
    folder.write("api.js", fork + serve("api", PORT, "child.once('message', listen);"))
    with running_program(folder.path, ["node", "api.js"], *SHARED) as server:
        kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        kept.request("GET", "/")
        assert kept.getresponse().read() == b"admin"
        folder.open_gate()
        assert kept.sock.recv(1) == b""
        kept.close()
        server.wait_log("^api at ")
        folder.wait_own(server)
        assert {fetch_body(server.port) for _ in range(CONNECTIONS)} == {b"api"}
        assert fetch_body(folder.own) == b"admin"


def test_two_processes_on_other_ports_keep_them(folder: Folder) -> None:
    other = free_port()
    folder.write("api.js", serve("api", str(other)))
    program = ["sh", "-c", "node admin.js & node api.js"]
    with running_program(folder.path, program, *SHARED, ready=False) as server:
        folder.wait_own(server)
        server.wait_log(f"^api at {other}$")
        ports = f"({folder.own} and {other}|{other} and {folder.own})"
        server.wait_log(f"prefork: the program listens on ports {ports}, but not on port ")
        assert server.count("prefork: the program listens on") == 1, server.log
        assert (fetch_body(folder.own), fetch_body(other)) == (b"admin", b"api")


@pytest.mark.parametrize(
    "script",
    ["node admin.js", "node admin.js; true", "node admin.js | cat", "node admin.js | node cat.js"],
)
def test_a_lone_server_under_wrappers_gets_the_bound_port(folder: Folder, script: str) -> None:
    folder.write("cat.js", "process.stdin.pipe(process.stdout);")
    program = folder.package(script)
    with running_program(folder.path, program, *SHARED, workers=2) as server:
        assert {fetch_body(server.port) for _ in range(8)} == {b"admin"}
        told = f"prefork: the program listens on port {folder.own} and gets port {server.port}"
        assert server.count(told) == 1, server.log
        assert server.stop() == 0


def test_a_helper_keeps_its_port_in_the_worker_that_replaces_another(folder: Folder) -> None:
    """Each worker decides anew."""
    folder.write(
        "admin.js", serve("admin", f"{folder.own}", "admin.on('error', () => {}); listen();")
    )
    program = ["sh", "-c", "node admin.js & node api.js"]
    with running_program(folder.path, program, *SHARED, workers=2) as server:
        server.send(1)
        server.wait_log("reloaded to gen 2")
        assert {fetch_body(server.port) for _ in range(CONNECTIONS)} == {b"api"}
        assert server.count(f"admin at {server.port}$") == 0, server.log


WRAPPER = """\
const { spawn } = require('node:child_process');
for (const command of ['node admin.js', 'cat gate; node api.js']) {
  spawn('sh', ['-c', command], { stdio: ['pipe', 'inherit', 'inherit'] });
}
"""
"""Starts both beside each other, as concurrently does."""


def test_a_server_that_a_wrapper_in_node_starts_later_gets_the_bound_port(folder: Folder) -> None:
    folder.write("wrapper.js", WRAPPER)
    with running_program(folder.path, ["node", "wrapper.js"], *SHARED, ready=False) as server:
        folder.wait_own(server)
        assert server.count("which cat .* may take") == 1
        folder.open_gate()
        server.ready()
        assert {fetch_body(server.port) for _ in range(CONNECTIONS)} == {b"api"}


def test_a_cluster_beside_a_helper_gets_the_bound_port(folder: Folder) -> None:
    """Its workers start, and its primary waits for nothing but them."""
    workers = (
        "const cluster = require('node:cluster');\nif (cluster.isPrimary) cluster.fork();\nelse {"
    )
    folder.write("api.js", workers + serve("api", PORT, GATED) + "}")
    program = ["sh", "-c", "node admin.js & node api.js"]
    with running_program(folder.path, program, *SHARED, ready=False) as server:
        folder.wait_own(server)
        folder.open_gate()
        server.ready()
        assert {fetch_body(server.port) for _ in range(CONNECTIONS)} == {b"api"}


def test_a_helper_does_not_replace_a_server_that_failed(folder: Folder) -> None:
    folder.write("api.js", "throw new Error('no database')")
    program = ["sh", "-c", "node admin.js & node api.js; wait"]
    with running_program(folder.path, program, *SHARED, ready=False) as server:
        folder.wait_own(server)
        assert server.count("which the failed process .* may take") == 1
        assert fetch_body(folder.own) == b"admin"


def test_a_server_in_a_thread_does_not_leave_the_bound_port_to_a_helper(folder: Folder) -> None:
    """It finds the bound port in use, as a thread cannot share the socket."""
    folder.write("api.js", serve("api", PORT, "api.on('error', console.error); listen();"))
    thread = "new (require('node:worker_threads').Worker)('./api.js');\n"
    folder.write("main.js", thread + serve("admin", str(folder.own)))
    with running_program(folder.path, ["node", "main.js"], *SHARED, ready=False) as server:
        server.wait_log("EADDRINUSE")
        folder.wait_own(server)
        assert fetch_body(folder.own) == b"admin"
