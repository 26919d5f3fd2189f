"""Node programs whose sockets the master did not open itself: each server keeps its own port."""

import socket
from contextlib import ExitStack
from pathlib import Path

from tests.live.harness import Server
from tests.live.home import temporary_home
from tests.live.programs import fetch_body, needs_node
from tests.live.socket_activation import activation

pytestmark = needs_node

SOURCE = """\
const { createServer } = require('node:http');
for (const port of process.argv.slice(2)) {
  createServer((req, res) => res.end(port)).listen(port, '127.0.0.1');
}
"""


def test_inherited_sockets_may_be_bound_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "server.js").write_text(SOURCE)
    with ExitStack() as stack:
        given = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
            for _ in range(3)
        ]
        ports = [sock.getsockname()[1] for sock in given]
        binds = [word for port in ports for word in ("-b", f"127.0.0.1:{port}")]
        server = Server(
            *(*binds, "-w", "1", "--", "node", "server.js", *map(str, ports)),
            cwd=tmp_path,
            prefix=activation(*reversed(given)),
            pass_fds=[sock.fileno() for sock in given],
        )
        try:
            server.ready()
            assert [fetch_body(port) for port in ports] == [str(port).encode() for port in ports]
            assert server.count("instead") == 0, server.log
            assert server.stop() == 0
        finally:
            server.destroy()


def test_a_new_master_hands_each_socket_to_its_server(tmp_path: Path) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        ports = [sock.getsockname()[1] for sock in held]
    with temporary_home(tmp_path) as home:
        home.write("server.js", SOURCE)
        binds = [word for port in ports for word in ("-b", f"127.0.0.1:{port}")]
        home.run_ok("start", *binds, "-n", "api", "--", "node", "server.js", *map(str, ports))
        master = home.app("api")["pid"]
        for verb in (["restart"], ["restart", "--update-env"], ["restart", "--stop-first"]):
            home.run_ok(*verb, "api")
            assert [fetch_body(port) for port in ports] == [str(port).encode() for port in ports]
        assert home.app("api")["pid"] != master
        assert "instead" not in (home.home / "api" / "log").read_text()
