"""How a Node program with the shim ends at the stop signal: drained first, then its handlers."""

import json
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.live.harness import PATIENCE, Server, wait_for
from tests.live.node_packages import install_packages, write_package
from tests.live.programs import needs_node, running_program
from tests.live.raw_client import RawConnection, get, tcp
from tests.live.websocket_client import close_frame, connect_websocket

pytestmark = needs_node

SHARED = ("-b", "127.0.0.1:0")
HELD = """\
const fs = require('node:fs');
const server = require('node:http').createServer((req, res) => {
  if (req.url === '/held') {
    console.error('held');
    const timer = setInterval(() => {
      if (fs.existsSync('go')) { clearInterval(timer); console.error('answered'); res.end('late'); }
    }, 10);
  } else if (req.url === '/stream') {
    res.write('first');
    res.on('close', () => console.error('stream closed'));
  } else res.end('served');
});
server.keepAliveTimeout = 100000;
server.listen(process.env.PORT, () => {
  const look = setInterval(() => {
    if (server.listening) return;
    clearInterval(look);
    console.error('draining');
  }, 10);
  look.unref();
});
"""
"""Answers /held when the file ``go`` is there, and never ends the answer to /stream."""


def write(folder: Path, source: str) -> list[str]:
    (folder / "server.js").write_text(source)
    return ["node", "server.js"]


def hold(server: Server) -> RawConnection:
    """Send a request that is answered when the file ``go`` is there."""
    wire = tcp(server).send(get("/held"))
    server.wait_log("^held$")
    return wire


@pytest.mark.parametrize(
    ("handler", "stop_signal", "code"),
    [
        ("process.on('SIGTERM', () => { console.error('handler'); process.exit(0); })", "TERM", 0),
        ("process.on('SIGINT', () => { console.error('handler'); process.exit(0); })", "TERM", 0),
        (
            "process.once('SIGINT', (name) => "
            "server.close(() => { console.error('handler'); process.kill(process.pid, name); }))",
            "INT",
            0,
        ),
    ],
    ids=["term", "pm2", "int"],
)
def test_handlers_run_when_the_last_request_is_answered(
    tmp_path: Path, handler: str, stop_signal: str, code: int
) -> None:
    """A handler that exits at once would cut the request."""
    program = write(tmp_path, f"{HELD}{handler};")
    options = (*SHARED, "--stop-signal", stop_signal)
    with running_program(tmp_path, program, *options) as server, hold(server) as wire:
        server.send(signal.SIGTERM)
        server.wait_log("^draining$")
        assert server.count("^handler$") == 0
        (tmp_path / "go").touch()
        answer = wire.answer()
        assert (answer.body, answer.closes) == (b"late", True)
        assert server.wait_exit() == code
        lines = [line for line in server.lines if line in ("answered", "handler")]
        assert lines == ["answered", "handler"]
        assert server.count("killed") == 0


def test_a_program_without_handlers_ends_after_its_last_answer(tmp_path: Path) -> None:
    with (
        running_program(tmp_path, write(tmp_path, HELD), *SHARED) as server,
        hold(server) as wire,
    ):
        server.send(signal.SIGTERM)
        server.wait_log("^draining$")
        (tmp_path / "go").touch()
        assert wire.answer().closes
        assert server.wait_exit() == 0


def test_an_idle_connection_may_send_one_more_request(tmp_path: Path) -> None:
    """It is closed after the linger, and one that never sent a request as well."""
    options = (*SHARED, "--linger", "2s")
    with (
        running_program(tmp_path, write(tmp_path, HELD), *options) as server,
        tcp(server) as busy,
        tcp(server) as idle,
        tcp(server) as silent,
    ):
        for wire in (busy, idle):
            assert not wire.send(get("/")).answer().closes
        server.send(signal.SIGTERM)
        server.wait_log("^draining$")
        assert busy.send(get("/")).answer().closes
        assert busy.ends_cleanly()
        assert idle.ends_cleanly()
        assert silent.ends_cleanly()
        assert server.wait_exit() == 0
        assert server.count("killed") == 0


def test_an_answer_without_end_is_ended_by_the_stream_timeout(tmp_path: Path) -> None:
    options = (*SHARED, "--stream-timeout", "300ms", "--kill-timeout", "60s")
    with (
        running_program(tmp_path, write(tmp_path, HELD), *options) as server,
        tcp(server) as wire,
    ):
        wire.send(get("/stream")).head()
        server.send(signal.SIGTERM)
        server.wait_log("^stream closed$")
        assert server.wait_exit() == 0
        assert server.count("killed") == 0


def test_handlers_have_a_share_of_the_kill_timeout(tmp_path: Path) -> None:
    """A request that is never answered does not keep them from their work."""
    program = write(
        tmp_path,
        f"{HELD}process.on('SIGTERM', () => {{ console.error('handler'); process.exit(0); }});",
    )
    options = (*SHARED, "--kill-timeout", "5s")
    with running_program(tmp_path, program, *options) as server, hold(server):
        server.send(signal.SIGTERM)
        server.wait_log("^handler$")
        assert server.wait_exit() == 0
        assert server.count("killed") == 0


def test_connections_of_another_protocol_are_left_to_the_handlers(tmp_path: Path) -> None:
    program = write(
        tmp_path,
        "const sockets = new Set();\n"
        "const server = require('node:net').createServer((socket) => sockets.add(socket));\n"
        "server.listen(process.env.PORT);\n"
        "process.on('SIGTERM', () => {\n"
        "  for (const socket of sockets) socket.end('bye');\n"
        "  server.close(() => process.exit(0));\n"
        "});",
    )
    with running_program(tmp_path, program, *SHARED) as server, tcp(server) as wire:
        wait_for(lambda: has_connection(server), "the connection")
        server.send(signal.SIGTERM)
        assert wire.read_to_end() == b"bye"
        wire.socket.close()
        assert server.wait_exit() == 0


def has_connection(server: Server) -> bool:
    """Return whether a worker has accepted a connection."""
    found = [each for worker in server.workers() for each in worker.net_connections("tcp")]
    return any(each.status == psutil.CONN_ESTABLISHED for each in found)


def test_streams_of_http2_end_before_their_session(tmp_path: Path) -> None:
    source = HELD.replace("node:http'", "node:http2'").replace("server.keepAliveTimeout", "const x")
    client = """\
const session = require('node:http2').connect('http://127.0.0.1:' + process.argv[1]);
session.on('goaway', (code) => console.log('goaway', code));
const stream = session.request({ ':path': '/held' });
stream.on('data', (data) => console.log(String(data)));
session.on('close', () => console.log('closed'));
"""
    with running_program(tmp_path, write(tmp_path, source), *SHARED) as server:
        process = subprocess.Popen(
            ["node", "-e", client, str(server.port)], stdout=subprocess.PIPE, text=True
        )
        try:
            server.wait_log("^held$")
            server.send(signal.SIGTERM)
            server.wait_log("drains: stop")
            assert process.stdout is not None
            assert process.stdout.readline() == "goaway 0\n"
            (tmp_path / "go").touch()
            rest = process.communicate(timeout=PATIENCE)[0].splitlines()
            # A session may say a second time that it ends, when its last stream has.
            assert [line for line in rest if line != "goaway 0"] == ["late", "closed"]
        finally:
            process.kill()
            process.wait()
        assert server.wait_exit() == 0
        assert server.count("killed") == 0


def test_a_websocket_is_told_to_connect_again(tmp_path: Path) -> None:
    """Its library is ws, which knows nothing of the drain and learns the end from its client."""
    write_package(tmp_path, install_packages("express@5", "fastify@5", "ws@8"))
    program = write(
        tmp_path,
        "const server = require('node:http').createServer();\n"
        "const sockets = new (require('ws').WebSocketServer)({ server });\n"
        "sockets.on('connection', (socket) => {\n"
        "  socket.on('message', (data) => socket.send(String(data)));\n"
        "  socket.on('close', (code) => console.error('closed', code));\n"
        "});\n"
        "server.listen(process.env.PORT);",
    )
    options = (*SHARED, "--ws-close-timeout", "1s")
    with (
        running_program(tmp_path, program, *options) as server,
        connect_websocket(server) as wire,
        connect_websocket(server) as deaf,
    ):
        server.send(signal.SIGTERM)
        assert wire.read_close()[0] == 1012
        assert deaf.read_close()[0] == 1012
        wire.send_frames(close_frame(1012))
        server.wait_log("^closed 1012$")
        assert server.wait_exit() == 0
        assert server.count("killed") == 0


def test_a_server_under_wrappers_gets_the_signal_alone(tmp_path: Path) -> None:
    """npm and the shell end after it, without an error, and a helper lives until it has ended."""
    write(
        tmp_path,
        "const { spawn } = require('node:child_process');\n"
        'const script = \'trap "echo helper told >&2; exit 0" TERM; '
        "echo helping >&2; while :; do sleep 0.05; done';\n"
        f"{HELD}server.on('listening', () => "
        "spawn('sh', ['-c', script], { stdio: 'inherit' }).unref());",
    )
    scripts = {"start": "node server.js; echo shell ended >&2"}
    (tmp_path / "package.json").write_text(json.dumps({"name": "app", "scripts": scripts}))
    with running_program(tmp_path, ["npm", "start"], *SHARED) as server, hold(server) as wire:
        server.wait_log("^helping$")
        server.send(signal.SIGTERM)
        server.wait_log("^draining$")
        assert server.count("^helper told|^shell ended") == 0
        (tmp_path / "go").touch()
        assert wire.answer().body == b"late"
        server.wait_log("^shell ended$")
        server.wait_log("^helper told$")
        assert server.wait_exit() == 0
        assert server.count("npm (error|ERR)|killed") == 0, server.log


def test_a_wrapper_that_waits_for_ever_is_told_after_its_server(tmp_path: Path) -> None:
    """As nodemon and node --watch do, which wait for a change when the server has ended."""
    write(tmp_path, HELD)
    options = (*SHARED, "--kill-timeout", "60s")
    script = "node server.js; echo server ended >&2; sleep 1000"
    with running_program(tmp_path, ["sh", "-c", script], *options) as server:
        server.send(signal.SIGTERM)
        server.wait_log("^server ended$")
        assert server.wait_exit() == 0
        assert server.count("killed") == 0


def test_the_death_of_the_real_server_replaces_its_worker(tmp_path: Path) -> None:
    """Only its own requests are lost."""
    write(tmp_path, HELD + "console.error('pid', process.pid);")
    scripts = {"start": "node server.js; exit $?"}
    (tmp_path / "package.json").write_text(json.dumps({"name": "app", "scripts": scripts}))
    options = (*SHARED, "--min-uptime", "10ms")
    with running_program(tmp_path, ["npm", "start"], *options, workers=2) as server:
        pids = [int(server.wait_log(r"^pid (\d+)$", n)[1]) for n in (1, 2)]
        os.kill(pids[0], signal.SIGKILL)
        assert server.get() == (200, b"served")
        server.ready(3)
        assert server.count("gone: exited by itself") == 1
        assert server.get() == (200, b"served")
        assert server.stop() == 0
