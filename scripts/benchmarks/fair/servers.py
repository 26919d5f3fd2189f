"""Declares the servers that are compared, and starts each with a number of workers.

Each worker handles one request at a time, because the app blocks it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..peers import PEERS_BIN, PROJECT_BIN
from ..server import RunningCommand, ServerError, find_free_port
from .clients import ClientError, request_once

APPS = Path(__file__).resolve().parent / "apps"
READY_SECONDS = 40.0
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class ServerCommand:
    """A server and the command that starts it.

    `arguments` has the placeholders {port} and {workers}. `package` is the distribution that must
    be installed in the peers' environment, empty for none.
    """

    name: str
    program: Path
    arguments: str
    package: str = ""

    def command(self, port: int, workers: int) -> list[str]:
        """Return the command with its placeholders filled in."""
        words = (word.format(port=port, workers=workers) for word in self.arguments.split())
        return [str(self.program), *words]

    @property
    def is_prefork(self) -> bool:
        """Return whether the server is prefork, with any options."""
        return self.name.startswith("prefork")


def _prefork_command(name: str, app: str, options: str = "") -> ServerCommand:
    base = f"-m prefork -w {{workers}} -b 127.0.0.1:{{port}} --log-level warning {options}"
    return ServerCommand(f"prefork {name}", PROJECT_BIN / "python", f"{base} sleep_app:{app}")


def _gunicorn_command(kind: str, app: str) -> ServerCommand:
    words = (
        f"-m gunicorn -w {{workers}} -k {kind} -b 127.0.0.1:{{port}}"
        f" --no-control-socket --log-level warning sleep_app:{app}"
    )
    return ServerCommand(f"gunicorn {kind}", PEERS_BIN / "python", words, "gunicorn")


def _granian_command(app: str, options: str = "") -> ServerCommand:
    words = (
        f"-m granian --interface {app} --loop uvloop --workers {{workers}} {options}"
        f" --host 127.0.0.1 --port {{port}} --no-access-log --log-level warning sleep_app:{app}"
    )
    return ServerCommand(f"granian {app}", PEERS_BIN / "python", words, "granian")


def _uvicorn_command() -> ServerCommand:
    words = (
        "-m uvicorn --loop uvloop --http httptools --workers {workers} --host 127.0.0.1"
        " --port {port} --no-access-log --log-level warning sleep_app:asgi"
    )
    return ServerCommand("uvicorn", PEERS_BIN / "python", words, "uvicorn")


def _uwsgi_command(name: str, options: str = "") -> ServerCommand:
    """Return a command of uWSGI with a listen queue of 1024.

    With its default of 100 connections overflow the queue, and the client's kernel only retries
    after a second.
    """
    words = (
        f"--virtualenv {PEERS_BIN.parent} --need-app --die-on-term --master --disable-logging"
        f" --http-socket 127.0.0.1:{{port}} --listen 1024 --processes {{workers}} {options}"
        " --module sleep_app:wsgi"
    )
    return ServerCommand(name, PEERS_BIN / "uwsgi", words, "uWSGI")


SERVERS = (
    _prefork_command("wsgi", "wsgi"),
    _prefork_command("wsgi, any", "wsgi", "--accept any"),
    _prefork_command("wsgi, rebalance", "wsgi", "--rebalance"),
    _prefork_command("asgi", "asgi"),
    _prefork_command("main, plain", "plain"),
    _prefork_command("main, asyncio", "loop"),
    _gunicorn_command("sync", "wsgi"),
    _gunicorn_command("gthread", "wsgi"),
    _gunicorn_command("asgi", "asgi"),
    _uvicorn_command(),
    _granian_command("wsgi", "--blocking-threads 1"),
    _granian_command("asgi"),
    _uwsgi_command("uWSGI"),
    _uwsgi_command("uWSGI thunder-lock", "--thunder-lock"),
    ServerCommand(
        "Node cluster",
        Path(shutil.which("node") or "node"),
        "sleep_app.js {port} {workers}",
        "node",
    ),
)


@contextmanager
def run_server(server: ServerCommand, workers: int) -> Iterator[int]:
    """Run the server, and yield its port when it answers and all its workers have started.

    Raises ServerError, also for a ClientError or OSError of the block.
    """
    port = find_free_port()
    with RunningCommand(lambda _folder: server.command(port, workers), APPS) as running:
        deadline = time.monotonic() + READY_SECONDS
        while not _is_answering(port):
            if running.has_exited():
                raise running.make_error("ended before it answered")
            if time.monotonic() > deadline:
                raise running.make_error(f"no answer within {READY_SECONDS:g} s")
            time.sleep(POLL_SECONDS)
        wait_until_idle(running, deadline)
        try:
            yield port
        except (ClientError, OSError) as error:
            raise ServerError(str(error), running.last_lines()) from None


def _is_answering(port: int) -> bool:
    """Return whether the server on `port` answers a request."""
    try:
        request_once(port, 0)
    except (ClientError, OSError):
        return False
    return True


def wait_until_idle(running: RunningCommand, deadline: float) -> None:
    """Wait until no process of the command uses CPU time, because then all workers have started.

    Idle means less than 8 ms of CPU time in each of three intervals of 150 ms. Not every server
    reports when its workers are ready, so all are observed in the same way. Returns at `deadline`
    (`time.monotonic`) in any case.
    """
    quiet = 0
    used = running.cpu_ns()
    while quiet < 3 and time.monotonic() < deadline:
        time.sleep(0.15)
        before, used = used, running.cpu_ns()
        quiet = quiet + 1 if used - before < 8_000_000 else 0


def is_missing(server: ServerCommand, versions: dict[str, str]) -> bool:
    """Return whether the server is not installed; `versions` has the installed packages."""
    if server.package == "node":
        return shutil.which("node") is None
    return bool(server.package) and server.package not in versions
