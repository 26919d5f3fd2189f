"""A registry of its own for a test, and the ``prefork`` command as a user types it."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefork import Client
from tests.live.harness import PATIENCE

APP = """\
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"{text}"]
"""


class Home:
    """A registry folder, and a folder of apps to start in it."""

    def __init__(self, path: Path) -> None:
        self.folder = path / "apps"
        self.folder.mkdir()
        self.home = path / "home"
        self.client = Client(self.home)
        self.write("web.py", APP.format(text="one"))

    def write(self, name: str, text: str) -> None:
        """Write a file into the folder of apps."""
        (self.folder / name).write_text(text)

    def environ(self) -> dict[str, str]:
        """Return the environment of commands: this registry, and no other PREFORK variable."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PREFORK_")}
        return {**clean, "PREFORK_HOME": str(self.home), "PWD": str(self.folder)}

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; ``environ``: further variables."""
        return subprocess.run(
            [sys.executable, "-m", "prefork", *words],
            cwd=self.folder,
            env={**self.environ(), **environ},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def output(self, *words: str) -> bytes:
        """Run a command that succeeds and return what it writes into a pipe."""
        command = [sys.executable, "-m", "prefork", *words]
        environ = self.environ()
        return subprocess.check_output(command, cwd=self.folder, env=environ, timeout=PATIENCE)

    def run_ok(self, *words: str) -> str:
        """Run a command that succeeds and return its stdout."""
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def run_failing(self, code: int, *words: str) -> str:
        """Run a command that fails with ``code`` and return its stderr."""
        done = self.run(*words)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stderr

    def start(self, name: str = "web", *options: str) -> None:
        """Start the app ``web:app`` under a name, on a port of its own."""
        self.run_ok("start", "-b", "127.0.0.1:0", "--name", name, *options, "web:app")

    def app(self, name: str = "web") -> dict[str, Any]:
        """Return what the client reports about an app."""
        (found,) = [app for app in self.client.apps() if app["name"] == name]
        return found


@contextmanager
def temporary_home(path: Path) -> Iterator[Home]:
    """Make a Home, and stop all apps that still run in it at the end."""
    made = Home(path)
    try:
        yield made
    finally:
        for app in made.client.apps():
            made.run("stop", "--force", app["name"])


def fetch(app: dict[str, Any]) -> bytes:
    """Return the body of a GET request to the first listener of an app."""
    with urllib.request.urlopen(f"http://{app['listening'][0]}/", timeout=PATIENCE) as answer:
        content: bytes = answer.read()
    return content
