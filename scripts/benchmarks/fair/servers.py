"""The servers, each with several workers that do one thing at a time, and how they are started."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..peers import PEERS_OWN, PROJECT
from ..server import Running, ServerError, free_port
from .clients import ClientError, ask

APPS = Path(__file__).resolve().parent / "apps"
READY_SECONDS = 40.0
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Crew:
    """A server. Its command has places for {port} and {workers}. `package` is what must be
    installed in the peers' environment, if anything."""

    name: str
    program: Path
    words: str
    package: str = ""

    def command(self, port: int, workers: int) -> list[str]:
        words = (word.format(port=port, workers=workers) for word in self.words.split())
        return [str(self.program), *words]

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("prefork")


def _prefork(name: str, app: str, options: str = "") -> Crew:
    base = f"-m prefork -w {{workers}} -b 127.0.0.1:{{port}} --log-level warning {options}"
    return Crew(f"prefork {name}", PROJECT / "python", f"{base} sleep_app:{app}")


def _gunicorn(kind: str, app: str) -> Crew:
    words = (
        f"-m gunicorn -w {{workers}} -k {kind} -b 127.0.0.1:{{port}}"
        f" --no-control-socket --log-level warning sleep_app:{app}"
    )
    return Crew(f"gunicorn {kind}", PEERS_OWN / "python", words, "gunicorn")


def _granian(app: str, options: str = "") -> Crew:
    words = (
        f"-m granian --interface {app} --loop uvloop --workers {{workers}} {options}"
        f" --host 127.0.0.1 --port {{port}} --no-access-log --log-level warning sleep_app:{app}"
    )
    return Crew(f"granian {app}", PEERS_OWN / "python", words, "granian")


def _uvicorn() -> Crew:
    words = (
        "-m uvicorn --loop uvloop --http httptools --workers {workers} --host 127.0.0.1"
        " --port {port} --no-access-log --log-level warning sleep_app:asgi"
    )
    return Crew("uvicorn", PEERS_OWN / "python", words, "uvicorn")


def _uwsgi(name: str, options: str = "") -> Crew:
    """With a longer queue than its 100: what overflows comes again a second later."""
    words = (
        f"--virtualenv {PEERS_OWN.parent} --need-app --die-on-term --master --disable-logging"
        f" --http-socket 127.0.0.1:{{port}} --listen 1024 --processes {{workers}} {options}"
        " --module sleep_app:wsgi"
    )
    return Crew(name, PEERS_OWN / "uwsgi", words, "uWSGI")


CREWS = (
    _prefork("wsgi", "wsgi"),
    _prefork("wsgi, any", "wsgi", "--accept any"),
    _prefork("wsgi, rebalance", "wsgi", "--rebalance"),
    _prefork("asgi", "asgi"),
    _prefork("main, plain", "plain"),
    _prefork("main, asyncio", "loop"),
    _gunicorn("sync", "wsgi"),
    _gunicorn("gthread", "wsgi"),
    _gunicorn("asgi", "asgi"),
    _uvicorn(),
    _granian("wsgi", "--blocking-threads 1"),
    _granian("asgi"),
    _uwsgi("uWSGI"),
    _uwsgi("uWSGI thunder-lock", "--thunder-lock"),
    Crew(
        "Node cluster",
        Path(shutil.which("node") or "node"),
        "sleep_app.js {port} {workers}",
        "node",
    ),
)


@contextmanager
def serving(crew: Crew, workers: int) -> Iterator[int]:
    """Its port, once it answers and as many workers as wanted are there. Raises ServerError."""
    port = free_port()
    with Running(lambda _folder: crew.command(port, workers), APPS) as running:
        deadline = time.monotonic() + READY_SECONDS
        while not _answers(port):
            if running.has_exited():
                raise running.error("ended before it answered")
            if time.monotonic() > deadline:
                raise running.error(f"no answer within {READY_SECONDS:g} s")
            time.sleep(POLL_SECONDS)
        settle(running, deadline)
        try:
            yield port
        except (ClientError, OSError) as error:
            raise ServerError(str(error), running.last_lines()) from None


def _answers(port: int) -> bool:
    try:
        ask(port, 0)
    except (ClientError, OSError):
        return False
    return True


def settle(running: Running, deadline: float) -> None:
    """Until nobody of it does anything any more: then all workers have started."""
    quiet = 0
    used = running.cpu_ns()
    while quiet < 3 and time.monotonic() < deadline:
        time.sleep(0.15)
        before, used = used, running.cpu_ns()
        quiet = quiet + 1 if used - before < 8_000_000 else 0


def missing(crew: Crew, found: dict[str, str]) -> bool:
    """Whether it could not be installed here."""
    if crew.package == "node":
        return shutil.which("node") is None
    return bool(crew.package) and crew.package not in found
