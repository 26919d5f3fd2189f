"""Run the real ``prefork`` command as a child process and talk to it over real sockets.

A Server listens on ``127.0.0.1:0``. Its port, and everything else that it does, is read from its
log, line by line, as it is written. ``wait_for`` waits for an event with a deadline. No function
here sleeps for a fixed time, and no process outlives its test.
"""

import atexit
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import psutil

from prefork.config.platform_variables import PLATFORM_VARIABLES

T = TypeVar("T")
APPS = Path(__file__).parent.parent / "apps"
"""The folder of the apps that tests serve, for --pythonpath."""

HOME = tempfile.mkdtemp(prefix="prefork-home-")
"""The registry folder of the masters of these tests, instead of the user's."""
atexit.register(shutil.rmtree, HOME, ignore_errors=True)

PATIENCE = 60.0
"""Seconds after which an expected event counts as missing. A machine that is busy with other work
needs more than twenty of them for some events; only failures take all of them."""


def wait_for(happened: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """Call ``happened`` until its result is true, and return that. Raises AssertionError with
    ``what`` after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        if answer := happened():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience:.0f} s: {what}")
        # This yields the processor between two looks at a state outside of this process; it does
        # not wait for time to pass.
        time.sleep(0.005)


def own_environment() -> dict[str, str]:
    """Return the environment of this process without the variables that prefork reads, but for the
    one that chooses the build."""
    dropped = {name for name in os.environ if name.startswith("PREFORK_")} - {"PREFORK_PURE"}
    dropped |= set(PLATFORM_VARIABLES)
    return {name: value for name, value in os.environ.items() if name not in dropped}


SERVERS: list["Server"] = []
"""The servers of the test that runs; their logs are shown when it fails (conftest.py)."""


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs; False also when it ended a moment ago."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command_line(process: psutil.Process) -> str:
    """Return the command line of a process, empty when it has ended."""
    try:
        return " ".join(process.cmdline()).rstrip()
    except psutil.NoSuchProcess:
        return ""


class Server:
    """A prefork master that runs in the foreground, or another ``program``."""

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        env: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
        program: Sequence[str] = (sys.executable, "-m", "prefork"),
        stdout: IO[bytes] | None = None,
    ) -> None:
        self.cwd = cwd
        self.lines: list[str] = []
        self._news = threading.Condition()
        environ = own_environment()
        self.process = subprocess.Popen(
            [*prefix, *program, *arguments],
            cwd=cwd,
            pass_fds=pass_fds,
            env={**environ, "PWD": str(cwd), "PREFORK_HOME": HOME, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=stdout or subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        self.pid = self.process.pid
        SERVERS.append(self)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def log(self) -> str:
        """Everything that was logged so far."""
        return "\n".join(self.lines)

    def wait_log(self, pattern: str, count: int = 1, patience: float = PATIENCE) -> re.Match[str]:
        """Wait for the ``count``-th line that matches ``pattern``, and return its match."""
        found: list[re.Match[str]] = []

        def there() -> bool:
            found[:] = [m for line in self.lines if (m := re.search(pattern, line))]
            return len(found) >= count

        with self._news:
            if not self._news.wait_for(there, patience):
                raise AssertionError(
                    f"not within {patience:.0f} s: {count} x {pattern!r} in\n{self.log}"
                )
        return found[count - 1]

    def ready(self, workers: int = 1) -> "Server":
        """Wait until ``workers`` workers are ready."""
        self.wait_log(r"worker \d+ .*ready in", workers)
        return self

    @property
    def port(self) -> int:
        """The port of the first TCP listener."""
        return int(self.wait_log(r"listening on [^ ]*?:(\d+)")[1])

    def workers(self) -> list[psutil.Process]:
        """Return the live worker processes."""
        try:
            children = psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if is_alive(child)]

    def titles(self) -> list[str]:
        """Return the process titles of the workers, by slot."""
        found = [command_line(worker) for worker in self.workers()]
        return sorted(title for title in found if title)

    def wait_all_ready(self, workers: int, generation: int) -> None:
        """Wait until there are exactly ``workers`` workers, all ready and of this generation."""

        def settled() -> bool:
            ready = [re.fullmatch(r".*worker (\d+) .* ready gen (\d+)", t) for t in self.titles()]
            slots = [int(m[1]) for m in ready if m is not None and int(m[2]) == generation]
            return len(ready) == workers and slots == list(range(workers))

        wait_for(settled, f"{workers} workers of generation {generation}")

    def wait_title(self, pattern: str) -> str:
        """Wait until the master's title matches ``pattern``, and return the title."""
        wait_for(lambda: re.search(pattern, self.title()), f"title {pattern!r}")
        return self.title()

    def count(self, pattern: str) -> int:
        """Return how many lines of the log match ``pattern`` so far."""
        return sum(re.search(pattern, line) is not None for line in self.lines)

    def title(self) -> str:
        """Return the process title of the master."""
        return " ".join(psutil.Process(self.pid).cmdline()).rstrip()

    def send(self, signum: int) -> None:
        """Send a signal to the master."""
        os.kill(self.pid, signum)

    def send_group(self, signum: int) -> None:
        """Send a signal to the master and all workers, as a terminal does."""
        os.killpg(self.pid, signum)

    def is_gone(self) -> bool:
        """Return whether no process of its group is left. Only valid after ``wait_exit``."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def get(self, path: str = "/", timeout: float = PATIENCE) -> tuple[int, bytes]:
        """Send one GET request on a connection of its own and return status and body."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            client.request("GET", path)
            answer = client.getresponse()
            return answer.status, answer.read()
        finally:
            client.close()

    def connect(self) -> socket.socket:
        """Return a new TCP connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def wait_exit(self, patience: float = PATIENCE) -> int:
        """Wait for the end of the master and of its log, and return the exit code."""
        code = self.process.wait(patience)
        self._reader.join(patience)
        return code

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.send(signal.SIGTERM)
        return self.wait_exit()

    def destroy(self) -> None:
        """Kill every process of its group. The master leads a group of its own."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self._reader.join(PATIENCE)
        if self.process.stderr is not None:
            self.process.stderr.close()


@contextmanager
def serving(
    cwd: Path,
    app: str,
    *arguments: str,
    workers: int = 1,
    env: dict[str, str] | None = None,
    prefix: Sequence[str] = (),
    pass_fds: Sequence[int] = (),
    stdout: IO[bytes] | None = None,
) -> Iterator[Server]:
    """Run a server on a port of its own, wait for its ``workers``, and kill it at the end."""
    words = ["-b", "127.0.0.1:0", "-w", str(workers), *arguments, app]
    server = Server(*words, cwd=cwd, env=env, prefix=prefix, pass_fds=pass_fds, stdout=stdout)
    try:
        yield server.ready(workers)
    finally:
        server.destroy()


def command(
    *arguments: str,
    cwd: Path,
    env: dict[str, str] | None = None,
    prefix: Sequence[str] = (),
    pass_fds: Sequence[int] = (),
    patience: float = PATIENCE,
) -> subprocess.CompletedProcess[str]:
    """Run a prefork command that ends by itself. Processes that it leaves in its group are
    killed."""
    environ = own_environment()
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "prefork", *arguments],
        cwd=cwd,
        env={**environ, "PWD": str(cwd), "PREFORK_HOME": HOME, **(env or {})},
        pass_fds=pass_fds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
        errors="replace",
    )
    try:
        out, err = process.communicate(timeout=patience)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Make a folder that other users may read and enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
