"""A root master, one hostile child or client of another user, and pings all the while."""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from prefork.wire import control
from tests.hostile import attacks
from tests.live.harness import PATIENCE, Server, shared_folder, wait_for

OTHER, GROUP = 65534, 54321
"""The user that children run as, and the group that may use the control socket."""

OTHERS: dict[str, Any] = {"user": OTHER, "group": OTHER, "extra_groups": [GROUP]}
"""Arguments of subprocess.Popen that run a client as the other user."""

CHECKOUT = Path(__file__).parent.parent.parent

APP = """\
import attacks

attacks.start_attack()


def app(environ, start_response):
    start_response("200 OK", [])
    return [b"honest"]
"""

MAX_LOGGED = 1024 * 1024
"""Bytes of the master's log at most: an event that repeats is logged once."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack: the process that attacks, its function in attacks.py, and the master's options.

    ``attacker``: worker, status, writer, watcher, program or client. ``expected_log``: a regular
    expression that the master's log must contain; empty: none.
    """

    attacker: str
    name: str
    expected_log: str = ""
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.attacker}: {self.name.replace('_', ' ')}"


STRANGE, KILLED = (
    "sent an invalid message and is replaced",
    "sent an invalid message and was killed",
)
_STATUS = ("--status", "127.0.0.1:0")
_WRITER = ("--log-dir", "logs")

ATTACKS = (
    Attack("worker", "shrink_and_punch"),
    Attack("worker", "scribble"),
    Attack("worker", "fill_queue"),
    Attack("worker", "strand_lingering_connections"),
    Attack("worker", "shut_down_queue"),
    Attack("worker", "ready_pipe_line_ends", STRANGE),
    Attack("worker", "ready_pipe_valid_messages", STRANGE),
    Attack("worker", "ready_pipe_endless_line", STRANGE),
    Attack("worker", "ready_pipe_random_bytes", STRANGE),
    Attack("status", "channel_random_bytes", KILLED, _STATUS),
    Attack("status", "channel_descriptors", KILLED, _STATUS),
    Attack("status", "channel_many_sessions", "", _STATUS),
    Attack("status", "channel_closed", "the status server died", _STATUS),
    Attack("writer", "channel_random_bytes", KILLED, _WRITER),
    Attack("writer", "channel_descriptors", KILLED, _WRITER),
    Attack("writer", "channel_closed", "the log writer died", _WRITER),
    Attack("watcher", "pipe_of_any_bytes", "not watching files", ("--watch",)),
    Attack("program", "send_notifications", "", _WRITER),
    Attack("client", "send_requests", "", ("--control-group", str(GROUP))),
)


@dataclass(slots=True)
class Report:
    """The seconds that each ping took, and the bytes that the master logged."""

    pings: list[float] = field(default_factory=list)
    logged: int = 0


def run_attack(attack: Attack, seconds: float) -> Report:
    """Run the attack for ``seconds``. Raises AssertionError if the master does not hold out."""
    with shared_folder() as folder:
        (folder / "home").mkdir()
        (folder / "web.py").write_text(
            APP if attack.attacker == "worker" else APP.split("\n\n\n")[1]
        )
        shutil.copy(attacks.__file__, folder / "attacks.py")
        server = _server(attack, folder)
        clients: list[subprocess.Popen[bytes]] = []
        try:
            server.wait_log("ready in|running")
            if attack.attacker == "client":
                clients.append(_client(attack, folder))
            return _ping_during_attack(attack, server, folder, seconds)
        finally:
            for client in clients:
                client.kill()
                client.wait()
            server.destroy()


def _server(attack: Attack, folder: Path) -> Server:
    words = ["-b", "127.0.0.1:0", "--name", "web", "--user", str(OTHER), *attack.options]
    program: tuple[str, ...] = (sys.executable, "-m", "prefork")
    if attack.attacker in ("status", "writer", "watcher"):
        program = (sys.executable, "-m", "tests.hostile.taken_over", attack.attacker, attack.name)
    if attack.attacker == "program":
        command = (str(python_for_others()), "attacks.py", attack.name)
        words = [*words, "--ready", "notify", "-w", "1", "--", *command]
    else:
        words = [*words, "-w", "2", "web:app"]
    own = {
        "PREFORK_HOME": str(folder / "home"),
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ATTACK": attack.name,
    }
    return Server(*words, cwd=folder, env=own, program=program)


def _client(attack: Attack, folder: Path) -> subprocess.Popen[bytes]:
    socket_path = str(folder / "home" / "web" / "control")
    command = [str(python_for_others()), str(folder / "attacks.py"), attack.name, socket_path]
    return subprocess.Popen(command, cwd="/", start_new_session=True, **OTHERS)


def _ping_during_attack(attack: Attack, server: Server, folder: Path, seconds: float) -> Report:
    report = Report()
    path = folder / "home" / "web" / "control"
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        assert ask(path, "ping")["name"] == "web"
        report.pings.append(time.monotonic() - began)
        assert server.process.poll() is None, server.log[-5000:]
    if attack.expected_log:
        server.wait_log(attack.expected_log)
    state = ask(path, "show")
    assert state["pid"] == server.pid
    if attack.attacker != "program":
        _require_answer(server)
    report.logged = len(server.log)
    assert report.logged < MAX_LOGGED, server.log[:5000]
    for fault in ("this is a bug", "LookupError: prefork."):  # the latter: it attacked nothing
        assert fault not in server.log, server.log[-5000:]
    return report


def ask(path: Path, verb: str) -> dict[str, object]:
    """Send one verb over the control protocol, within the patience of a test."""
    with socket.socket(socket.AF_UNIX) as end:
        # A blocking connect waits while attackers fill the queue; with a timeout it would fail at
        # once with EAGAIN (unix(7)).
        patience = struct.pack("@ll", int(PATIENCE), 0)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        end.connect(str(path))
        end.settimeout(PATIENCE)
        end.sendall(control.encode_request(verb))
        with end.makefile() as answers:
            answer = json.loads(answers.readline())
    assert "result" in answer, answer
    return dict(answer["result"])


def _require_answer(server: Server) -> None:
    def answers() -> bool:
        try:
            return server.get("/", timeout=PATIENCE) == (200, b"honest")
        except OSError:
            return False  # the hostile worker had it, and died

    wait_for(answers, "an honest answer")


def is_possible() -> bool:
    """Return whether this user may become another one, and whether that one can run Python."""
    return os.geteuid() == 0 and python_for_others() is not None


@cache
def python_for_others() -> str | None:
    """Return an interpreter that other users can run; that of a virtual environment may be out of
    reach."""
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            command = [python, "-c", "import array, socket"]
            subprocess.run(command, cwd="/", capture_output=True, check=True, **OTHERS)
            return python
        except (OSError, subprocess.SubprocessError):
            pass
    return None
