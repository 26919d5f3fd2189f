"""The addresses at which a Node program may listen to get the shared sockets (node/shim.cjs)."""

import os
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from prefork import Client
from tests.certificates import Keyring
from tests.live.harness import HOME, PATIENCE, Server, shared_folder, wait_for
from tests.live.programs import fetch_body, needs_node, running_program
from tests.live.raw_client import RawConnection, get, unix
from tests.package_copy import copy_package

pytestmark = needs_node

SHARED = ("-b", "127.0.0.1:0")
SERVER = "const server = require('node:http').createServer((req, res) => res.end('served'));\n"
PORT = "const port = Number(process.env.PORT);\n"
TELL = "server.on('listening', () => console.error('at', JSON.stringify(server.address())));\n"


def write(folder: Path, source: str, name: str = "server.js") -> list[str]:
    """Write a program and return its command."""
    (folder / name).write_text(source)
    return ["node", name]


@pytest.mark.parametrize(
    "listen",
    [
        "server.listen(port)",
        "server.listen(String(port))",
        "server.listen(port, '0.0.0.0')",
        "server.listen({ port, host: '::', backlog: 9 })",
        "server.listen({ port, host: 'localhost', exclusive: true })",
        "server.listen({ fd: 3 })",
    ],
)
def test_any_spelling_of_the_bound_address_shares_the_socket(tmp_path: Path, listen: str) -> None:
    program = write(tmp_path, f"{SERVER}{PORT}{TELL}{listen};")
    with running_program(tmp_path, program, *SHARED, workers=2) as server:
        assert server.get() == (200, b"served")
        server.wait_log(rf'at .*"address":"127.0.0.1".*"port":{server.port}', 2)
        assert server.count("the program listens on") == 0
        assert server.stop() == 0


def test_the_backlog_is_that_of_the_settings(tmp_path: Path) -> None:
    program = write(tmp_path, f"{SERVER}{PORT}server.listen(port);")
    with running_program(tmp_path, program, *SHARED, "--backlog", "77") as server:
        found = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, check=True).stdout
        lines = [line.split() for line in found.splitlines()]
        assert [line[2] for line in lines if line[3].endswith(f":{server.port}")] == ["77"]


def test_https_http2_and_plain_servers_share_sockets_too(tmp_path: Path, keys: Keyring) -> None:
    """Each listens at a port of its own, which is bound."""
    program = write(
        tmp_path,
        "const fs = require('node:fs');\n"
        f"const cert = fs.readFileSync({str(keys.site.both)!r});\n"
        "const sockets = JSON.parse(process.env.PREFORK_NODE_SETTINGS).sockets;\n"
        "const [a, b, c] = sockets.map(({ port, host }) => ({ port, host }));\n"
        "const answer = (req, res) => res.end('served');\n"
        "require('node:https').createServer({ cert, key: cert }, answer).listen(a);\n"
        "require('node:http2').createServer(answer).listen(b);\n"
        "require('node:net').createServer((socket) => socket.end('plain')).listen(c);\n",
    )
    binds = (*SHARED, "-b", "127.0.0.2:0", "-b", "127.0.0.3:0")
    with running_program(tmp_path, program, *binds) as server:
        found = server.wait_log(r"listening on .*?:(\d+), .*?:(\d+), .*?:(\d+), 1 worker")
        secure, multiplexed, plain = map(int, found.groups())
        context = ssl.create_default_context(cafile=str(keys.ca.file))
        with (
            socket.create_connection(("127.0.0.1", secure), PATIENCE) as sock,
            context.wrap_socket(sock, server_hostname="site.test") as wrapped,
        ):
            assert RawConnection(wrapped).send(get("/")).answer().body == b"served"
        client = (
            f"const session = require('node:http2').connect('http://127.0.0.2:{multiplexed}');\n"
            "session.request({}).on('data', (data) => console.log(String(data)))"
            ".on('close', () => session.close());"
        )
        done = subprocess.run(
            ["node", "-e", client], capture_output=True, text=True, check=True, timeout=PATIENCE
        )
        assert done.stdout == "served\n"
        with socket.create_connection(("127.0.0.3", plain), PATIENCE) as sock:
            assert RawConnection(sock).read_to_end() == b"plain"
        assert server.stop() == 0


def test_a_unix_socket_is_shared_by_its_path(tmp_path: Path) -> None:
    program = write(tmp_path, f"{SERVER}{TELL}server.listen('./app.sock');")
    with running_program(tmp_path, program, "-b", "unix:app.sock", workers=2) as server:
        with unix(tmp_path / "app.sock") as wire:
            assert wire.send(get("/")).answer().body == b"served"
        server.wait_log('^at "./app.sock"|^at ".*/app.sock"', 2)
        assert server.stop() == 0


def test_a_host_name_with_two_sockets_has_one_server(tmp_path: Path) -> None:
    """Fastify opens a second server for ::1, which never gets a connection."""
    if ("::1", 0) not in {
        each[4][:2] for each in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
    }:
        pytest.skip("localhost has no address of IPv6 here")
    second = "require('node:http').createServer().listen(port, '::1', () => console.error('two'));"
    program = write(
        tmp_path, f"{SERVER}{PORT}server.listen(port, 'localhost', () => {{ {second} }});"
    )
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with running_program(tmp_path, program, "-b", f"localhost:{port}") as server:
        server.wait_log("^two$")
        assert fetch_body(port) == b"served"
        assert fetch_body(port, "::1") == b"served"
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [("port", "port"), ("port, '127.0.0.1'", "port"), ("port", "port, 'localhost'")],
)
def test_a_second_server_on_the_bound_port_finds_it_in_use(
    tmp_path: Path, first: str, second: str
) -> None:
    """As without prefork. The two addresses of a host name are another matter."""
    other = (
        "const other = require('node:http').createServer((req, res) => res.end('other'));\n"
        "other.on('error', (e) => console.error(e.message, e.code, e.syscall, e.port === port));\n"
        f"server.listen({first}, () => other.listen({second}));"
    )
    program = write(tmp_path, f"{SERVER}{PORT}{other}")
    with running_program(tmp_path, program, "-b", ":0") as server:
        server.wait_log("^listen EADDRINUSE: address already in use .* EADDRINUSE listen true$")
        assert {fetch_body(server.port) for _ in range(8)} == {b"served"}
        assert server.stop() == 0


def test_a_free_port_and_a_probe_of_the_bound_one_are_left_alone(tmp_path: Path) -> None:
    """Programs that look for a free port listen, close, and listen again."""
    program = write(
        tmp_path,
        f"{SERVER}{PORT}{TELL}const probe = require('node:net').createServer();\n"
        "const own = require('node:net').createServer();\n"
        "own.listen(0, () => console.error('own', own.address().port === port));\n"
        "probe.listen(port, () => probe.close(() => server.listen(port)));",
    )
    with running_program(tmp_path, program, *SHARED) as server:
        server.wait_log("^own false$")
        assert server.get() == (200, b"served")
        assert server.stop() == 0


def shown(name: str) -> set[str]:
    (app,) = [app for app in Client(Path(HOME)).apps() if app["name"] == name]
    return {worker["node"] for worker in app["workers"]}


def test_a_single_other_port_is_mapped_and_said_once(tmp_path: Path) -> None:
    name = f"other-{os.getpid()}"
    program = write(tmp_path, f"{SERVER}server.listen(3000);")
    options = (*SHARED, "-n", name, "--ready", "notify")
    with running_program(tmp_path, program, *options, workers=2) as server:
        assert server.get() == (200, b"served")
        texts = shown(name)
        assert len(texts) == 1
        assert texts.pop().endswith("; it asks for port 3000 and gets the bound one")
        told = f"prefork: the program listens on port 3000 and gets port {server.port} instead"
        assert server.count(told) == 1, server.log
        assert server.stop() == 0


def test_a_port_beside_the_bound_one_stays_where_it_is(tmp_path: Path) -> None:
    """Also if it comes so early that it was taken for the port of a program without PORT."""
    other = (
        "const other = require('node:http').createServer((req, res) => res.end('other'));\n"
        "other.on('listening', () => console.error('other', other.address().port));\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as sock:
        free = sock.getsockname()[1]
    late = f"other.on('listening', () => server._handle || server.listen(port)).listen({free});"
    program = write(tmp_path, f"{SERVER}{PORT}{other}{late}")
    with running_program(tmp_path, program, *SHARED, "--ready", "notify") as server:
        server.wait_log(f"^other {server.port}$")
        server.wait_log(f"^other {free}$")
        assert server.get() == (200, b"served")
        assert fetch_body(free) == b"other"
        assert server.stop() == 0


def test_of_several_other_ports_none_is_mapped(tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as two:
        ports = [each.getsockname()[1] for each in (one, two)]
    servers = "".join(
        f"require('node:http').createServer((q, s) => s.end('{port}')).listen({port});\n"
        for port in ports
    )
    program = write(tmp_path, servers)
    with running_program(tmp_path, program, *SHARED, ready=False) as server:
        server.wait_log(
            f"prefork: the program listens on ports {ports[0]} and {ports[1]}, but not on port "
        )
        assert [fetch_body(port) for port in ports] == [str(port).encode() for port in ports]


@pytest.mark.parametrize("policy", ["SCHED_RR", "SCHED_NONE"])
def test_a_program_with_its_own_cluster_shares_the_socket(tmp_path: Path, policy: str) -> None:
    """Its workers ask its primary for the socket, and the primary replaces each that ends."""
    program = write(
        tmp_path,
        "const cluster = require('node:cluster');\n"
        f"cluster.schedulingPolicy = cluster.{policy};\n"
        "cluster.on('exit', () => cluster.fork());\n"
        f"if (cluster.isPrimary) {{ cluster.fork(); cluster.fork(); }} else {{ {SERVER}"
        "server.listen(process.env.PORT); }",
    )
    with running_program(tmp_path, program, *SHARED, "--ready", "notify") as server:
        assert server.get() == (200, b"served")
        server.send(1)
        server.wait_log("reloaded to gen 2")
        assert server.get() == (200, b"served")
        assert server.stop() == 0
        assert server.count("killed") == 0, server.log


def test_wrappers_hand_the_sockets_on(tmp_path: Path) -> None:
    """Each level passes descriptors in another way, and one of them needs descriptor 3 itself."""
    write(tmp_path, f"{SERVER}{PORT}server.listen(port);")
    write(
        tmp_path,
        "const { spawn, spawnSync } = require('node:child_process');\n"
        "const options = { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] };\n"
        "if (process.argv[2]) spawn('sh', ['-c', 'node server.js; true'], options);\n"
        "else spawnSync(process.execPath, [__filename, 'again'], { stdio: 'inherit' });",
        "wrapper.js",
    )
    with running_program(tmp_path, ["node", "wrapper.js"], *SHARED, workers=2) as server:
        assert server.get() == (200, b"served")
        assert server.stop() == 0


def test_the_options_of_a_wrapper_do_not_remove_the_shim(tmp_path: Path) -> None:
    write(tmp_path, f"{SERVER}{PORT}server.listen(port);")
    write(
        tmp_path,
        "const env = { ...process.env, NODE_OPTIONS: '--max-http-header-size=20000' };\n"
        "require('node:child_process').spawn('node', ['server.js'], { env, stdio: 'inherit' });",
        "wrapper.js",
    )
    with running_program(tmp_path, ["node", "wrapper.js"], *SHARED) as server:
        assert server.get() == (200, b"served")


def test_a_program_behind_a_symlink_finds_its_own_files(tmp_path: Path) -> None:
    """As the commands in node_modules/.bin do, such as next."""
    for folder in ("lib", "bin"):
        (tmp_path / folder).mkdir()
    write(tmp_path, f"{SERVER}{PORT}server.listen(port);", "lib/server.js")
    write(tmp_path, "require('./server.js');", "lib/main.js")
    (tmp_path / "bin/main").symlink_to("../lib/main.js")
    with running_program(tmp_path, ["node", "bin/main"], *SHARED) as server:
        assert server.get() == (200, b"served")


def wait_lines(server: Server, *lines: str) -> None:
    for line in lines:
        server.wait_log(f"^{line}$")


def test_what_a_program_sees_of_its_place(tmp_path: Path) -> None:
    program = write(
        tmp_path,
        f"{SERVER}{PORT}server.listen(port);\n"
        "console.error('instance', process.env.NODE_APP_INSTANCE, process.env.SLOT);\n"
        "console.error('send', typeof process.send);\n",
    )
    with running_program(tmp_path, program, *SHARED, workers=2) as server:
        wait_lines(server, "instance 0 undefined", "instance 1 undefined", "send undefined")
    with running_program(tmp_path, program, *SHARED, "--instance-var", "SLOT") as server:
        wait_lines(server, "instance undefined 0")


def test_with_the_shim_off_nothing_is_changed(tmp_path: Path) -> None:
    program = write(
        tmp_path,
        f"{SERVER}server.listen({{ fd: 3 }});\n"
        "console.error('options', process.env.NODE_OPTIONS, process.env.PORT);",
    )
    with running_program(tmp_path, program, *SHARED, "--node-shim", "off") as server:
        server.wait_log("^options undefined undefined$")
        assert server.get() == (200, b"served")


def test_ready_when_the_program_says_so(tmp_path: Path) -> None:
    """As under PM2 with wait_ready."""
    os.mkfifo(tmp_path / "gate")
    program = write(
        tmp_path,
        f"{SERVER}{PORT}const fs = require('node:fs');\n"
        "server.listen(port, () => fs.readFile('gate', () => process.send('ready')));",
    )
    options = (*SHARED, "--ready", "manual")
    with running_program(tmp_path, program, *options, ready=False) as server:
        assert server.get() == (200, b"served")
        assert server.count("ready in") == 0
        (tmp_path / "gate").write_text("go\n")
        server.ready()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run it as another user")
def test_a_shim_that_the_user_cannot_read_is_left_out(tmp_path: Path) -> None:
    """As in a virtual environment in the home of root: Node would not start."""
    with shared_folder() as folder:
        (folder / "private").mkdir(mode=0o700)
        copy_package(folder / "private")
        write(folder, f"{SERVER}server.listen({{ fd: 3 }});")
        words = ("-u", "nobody", *SHARED, "-w", "1", "--", "node", "server.js")
        environ = {"PYTHONPATH": str(folder / "private")}
        server = Server(*words, cwd=folder, env=environ)
        try:
            server.ready()
            assert server.get() == (200, b"served")
            assert server.count("node-shim is off: the user of the program cannot read ") == 1
            assert server.stop() == 0
        finally:
            server.destroy()


def test_another_program_ignores_what_is_meant_for_node(tmp_path: Path) -> None:
    """It has the sockets and the descriptor for READY=1 as before."""
    words = 'echo "$LISTEN_FDS sockets" >&2; echo READY=1 >&$NOTIFY_FD; exec sleep 1000'
    options = (*SHARED, "--ready", "notify")
    with running_program(tmp_path, ["sh", "-c", words], *options) as server:
        assert server.count("^1 sockets$") == 1


def test_a_script_that_sets_node_options_anew_is_told_so(tmp_path: Path) -> None:
    """Its server has no preload, and listens elsewhere. The shell beside it had the preload."""
    write(tmp_path, f"{SERVER}server.listen(0, '127.0.0.1');")
    script = "NODE_OPTIONS=--no-warnings node server.js; exit $?"
    options = (*SHARED, "--boot-timeout", "6s")
    with running_program(tmp_path, ["sh", "-c", script], *options, ready=False) as server:
        assert server.wait_exit() == 102
        said = server.wait_log("giving up: worker 0: (.*)")[1]
        assert said.startswith("the program listens on 127.0.0.1:")
        assert ": NODE_OPTIONS was set anew for node " in said


def workers_of(name: str) -> list[dict[str, Any]]:
    (app,) = [app for app in Client(Path(HOME)).apps() if app["name"] == name]
    return list(app["workers"])


def test_a_node_process_that_serves_nothing_is_no_server(tmp_path: Path) -> None:
    """Build tools and jobs have the sockets, and take no connection."""
    name = f"job-{os.getpid()}"
    program = write(tmp_path, "setInterval(() => {}, 1000);")
    options = (*SHARED, "-n", name, "--ready", "10ms")
    with running_program(tmp_path, program, *options) as server:
        wait_for(lambda: bool(workers_of(name)), "the worker")
        assert workers_of(name)[0]["node"] == ""
        assert server.stop() == 0


def test_node_in_watch_mode_is_told_of_the_watch_of_prefork(tmp_path: Path) -> None:
    """It closes the sockets before any script runs, and waits for a change when a start fails."""
    write(tmp_path, f"{SERVER}{PORT}server.listen(process.env.PORT);")
    words = ["node", "--watch", "server.js"]
    with running_program(tmp_path, words, *SHARED, ready=False) as server:
        assert server.wait_exit() != 0
        said = "node --watch starts the program without the shared sockets: leave it out, and give"
        assert server.count(said) > 0, server.log
        assert server.count("--boot-timeout") == 0, server.log


def test_a_reload_of_a_node_server_without_bind_names_the_flag(tmp_path: Path) -> None:
    program = write(
        tmp_path,
        f"{SERVER}server.listen(0, '127.0.0.1', () => console.error('at', server.address().port));",
    )
    with running_program(tmp_path, program, "--min-uptime", "100ms") as server:
        port = server.wait_log(r"^at (\d+)$")[1]
        server.send(1)
        said = server.wait_log("without a change of the program, and a reload loses no request")[0]
        assert server.count(f"with `--bind 127.0.0.1:{port}` prefork opens that") == 1, said
