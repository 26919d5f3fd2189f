"""Helpers: servers of programs, their entries in the list, and the Node program that tells its
version."""

import http.client
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from prefork import Client
from tests.live.harness import APPS, HOME, PATIENCE, Server

needs_node = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")


@contextmanager
def running_program(
    cwd: Path, program: Sequence[str], *options: str, workers: int = 1, ready: bool = True
) -> Iterator[Server]:
    """Run a server of this program; at the end it is destroyed with all its descendants."""
    server = Server("-w", str(workers), *options, "--", *program, cwd=cwd)
    try:
        yield server.ready(workers) if ready else server
    finally:
        try:
            descendants = psutil.Process(server.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            descendants = []
        server.destroy()
        for process in descendants:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def listed(name: str) -> dict[str, Any]:
    """Return the entry of this app in the list, after its master read all earlier messages."""
    (app,) = [app for app in Client(Path(HOME)).apps() if app["name"] == name]
    return app


def fetch_body(port: int, host: str = "127.0.0.1") -> bytes:
    """Return the body of a GET request for ``/`` on a connection of its own."""
    client = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    try:
        client.request("GET", "/")
        return client.getresponse().read()
    finally:
        client.close()


def write_node(folder: Path, version: int) -> None:
    """Write server.js, a program whose answers begin with its version."""
    source = (APPS / "server.js").read_text()
    (folder / "server.js").write_text(source.replace("0001", f"{version:04d}"))
