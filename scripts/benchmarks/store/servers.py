"""Starts the servers of the stores, and the driver of each store."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ..peers import PEERS_BIN
from ..server import (
    POLL_SECONDS,
    READY_SECONDS,
    RunningCommand,
    find_free_port,
    minimal_environment,
)
from .stores import ServerName, Store

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parents[1]

Result = TypeVar("Result")


class DriverError(Exception):
    """A store could not be measured."""


class Driver:
    """The running driver of one store."""

    def __init__(self, store: Store, address: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [str(store.python), "-m", "benchmarks.store.driver", store.client, address],
            cwd=folder,
            env=minimal_environment() | {"PYTHONPATH": str(SCRIPTS)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, operation: str, processes: int, seconds: float) -> dict[str, Any]:
        """Return what the driver has measured. Raises DriverError."""
        order = {"operation": operation, "processes": processes, "seconds": seconds}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise DriverError("its driver has ended") from None
        line = self._process.stdout.readline()
        if not line:
            raise DriverError("its driver has ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise DriverError(answer["error"])
        return answer

    def close(self) -> None:
        """End the driver, which ends when its stdin does."""
        self._process.communicate(timeout=READY_SECONDS)


@contextmanager
def run_drivers(stores: list[Store]) -> Iterator[dict[str, Driver]]:
    """Run a driver for each store, and the servers that they need, and yield the drivers by name.

    Raises ServerError.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-store-")))
        places = {
            server: stack.enter_context(SERVERS[server](folder))
            for server in sorted({store.server for store in stores if store.server})
        }
        drivers = {}
        for number, store in enumerate(stores):
            own = folder / str(number)
            own.mkdir(mode=0o700)
            address = store.over.format(folder=own, **places.get(store.server, {}))
            drivers[store.name] = driver = Driver(store, address, own)
            stack.callback(driver.close)
        yield drivers


Places = dict[str, str | int]
"""The addresses of a server: `port`, `socket`."""


@contextmanager
def run_redis(folder: Path) -> Iterator[Places]:
    """Run Redis on a TCP port and on a Unix socket. It saves nothing to the disk."""
    port, path = find_free_port(), folder / "redis.sock"
    words = ["--bind", "127.0.0.1", "--port", str(port), "--unixsocket", str(path), "--save", ""]
    command = ["redis-server", *words, "--appendonly", "no", "--dir", str(folder)]
    with RunningCommand(lambda _folder: command, folder) as running:
        wait_until(running, lambda: can_connect(str(path)))
        yield {"port": port, "socket": str(path)}


@contextmanager
def run_memcached(folder: Path) -> Iterator[Places]:
    """Run memcached on a TCP port."""
    port = find_free_port()
    command = ["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0"]
    if os.geteuid() == 0:
        command += ["-u", "root"]  # it refuses to run as root without being told to
    with RunningCommand(lambda _folder: command, folder) as running:
        wait_until(running, lambda: can_connect(("127.0.0.1", port)))
        yield {"port": port}


@contextmanager
def run_gunicorn(folder: Path) -> Iterator[Places]:
    """Run gunicorn with its stash; its app answers with the path of the socket."""
    port = find_free_port()
    words = f"--bind 127.0.0.1:{port} --workers 1 --dirty-app stash_app:Idle --dirty-workers 1"
    command = [str(PEERS_BIN / "python"), "-m", "gunicorn", *words.split(), "--log-level"]
    command += ["warning", "--pythonpath", str(HERE), "--no-control-socket", "stash_app:app"]

    def ask_socket() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                path: str = answer.read().decode()
        except OSError:
            return ""
        return path if can_connect(path) else ""

    with RunningCommand(lambda _folder: command, folder) as running:
        yield {"socket": wait_until(running, ask_socket)}


SERVERS: dict[ServerName, Callable[[Path], Any]] = {
    "redis": run_redis,
    "memcached": run_memcached,
    "gunicorn": run_gunicorn,
}


def can_connect(address: str | tuple[str, int]) -> bool:
    """Return whether a server accepts connections at a Unix socket or at a host and port."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        return client.connect_ex(address) == 0


def wait_until(running: RunningCommand, is_ready: Callable[[], Result]) -> Result:
    """Return the first true result of `is_ready`. Raises ServerError."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if result := is_ready():
            return result
        if running.has_exited():
            raise running.make_error("ended before it was ready")
        time.sleep(POLL_SECONDS)
    raise running.make_error(f"not ready within {READY_SECONDS:g} s")


def server_versions() -> dict[str, str]:
    """Return the versions of the servers that are installed: `redis-server`, `memcached`."""
    found = {}
    for program in ("redis-server", "memcached"):
        if shutil.which(program):
            done = subprocess.run(
                [program, "--version"], capture_output=True, text=True, check=True
            )
            if match := re.search(r"\d+\.\d+\.\d+", done.stdout):
                found[program] = match[0]
    return found
