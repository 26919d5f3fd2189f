"""Starts a server on its core and on a free port, waits until it is ready, and stops it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from .answer import request_once
from .connect import BadAnswerError
from .loads import Load
from .peers import APPS, NODE_MODULES, ROOT, Peer
from .usage import cpu_ns

READY_SECONDS = 20.0
STOP_SECONDS = 10.0
ACCESS_LOG = "access"
POLL_SECONDS = 0.02
KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


class ServerError(Exception):
    """The server failed; `log` has the last lines that it wrote."""

    def __init__(self, reason: str, log: list[str]) -> None:
        super().__init__(reason)
        self.log = log


class RunningCommand:
    """A running command in a session of its own; as a context manager it kills the whole session.

    `command` is a function that gets a temporary folder for the files of the command and returns
    its arguments. `core` is the CPU to which the command is bound, None for any. `stdout` is the
    name of the file in that folder that gets standard output; standard error goes to `log`.
    """

    def __init__(
        self,
        command: Callable[[Path], list[str]],
        cwd: Path,
        core: int | None = None,
        stdout: str = "log",
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="bench-")
        self._folder = Path(self._temporary.name)
        self._log = self._folder / "log"
        with self._log.open("ab") as stderr, (self._folder / stdout).open("ab") as output:
            self._process = subprocess.Popen(
                command(self._folder),
                cwd=cwd,
                env=minimal_environment() | {"PREFORK_HOME": str(self._folder / "home")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=lambda: _set_up_child(core),  # noqa: PLW1509 - there are no threads here
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.stop()
        self._temporary.cleanup()

    def cpu_ns(self) -> int:
        """Return the CPU time of all its processes."""
        return cpu_ns(self.pid)

    def last_lines(self, count: int = 8) -> list[str]:
        """Return the last `count` lines of the log that are not empty."""
        text = self._log.read_text(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-count:]

    def make_error(self, reason: str) -> ServerError:
        """Return an error with `reason` and the last line of the log; the caller raises it."""
        log = self.last_lines()
        last_line = f" ({log[-1].strip()})" if log else ""
        return ServerError(f"{reason}{last_line}".replace(f"{ROOT}/", ""), log)

    def stop(self) -> None:
        """Send SIGTERM to the command, wait up to STOP_SECONDS, then kill its process group."""
        if self._process.returncode is not None:
            return
        try:
            os.kill(self.pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while not self.has_exited() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def has_exited(self) -> bool:
        """Return whether the command has exited, without reaping it.

        As long as it is a zombie, its pid cannot belong to another process group when `stop` kills.
        """
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None


class Server(RunningCommand):
    """A running peer on its core that serves one load."""

    def __init__(self, peer: Peer, load: Load, core: int) -> None:
        self.port = find_free_port()
        self._load = load
        super().__init__(
            lambda folder: peer.command(load, self.port, folder / ACCESS_LOG),
            APPS,
            core,
            ACCESS_LOG if load.need == "access-log" else "log",
        )

    def wait_until_ready(self) -> None:
        """Wait for the first answer. Raises ServerError when it is wrong or late."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self.has_exited():
                raise self.make_error("ended before it answered")
            try:
                request_once(self.port, self._load)
            except OSError:
                time.sleep(POLL_SECONDS)
                continue
            except BadAnswerError as error:
                raise self.make_error(str(error)) from None
            return
        raise self.make_error(f"no answer within {READY_SECONDS:g} s")

    def check_access_log(self, requests: int) -> None:
        """Stop the server and check that its access log has a line for each of `requests` requests.

        Raises ServerError.
        """
        self.stop()
        with (self._folder / ACCESS_LOG).open("rb") as lines:
            found = sum(1 for _ in lines)
        if found < requests:
            raise self.make_error(f"logged {found} of {requests} requests")


def minimal_environment() -> dict[str, str]:
    """Return the few variables that a server needs: settings of the caller change no result."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    return kept | {"NODE_PATH": str(NODE_MODULES)}


def _set_up_child(core: int | None) -> None:
    """Bind the child to `core`, and have it terminated when the benchmark dies (prctl(2))."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def find_free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nothing listens now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
