"""One server's life: started on its core and a free port, awaited, stopped, nothing left over."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from .answer import Answer, BadAnswerError, ask
from .loads import Load
from .peers import HERE, ROOT, Peer

READY_SECONDS = 20.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.02
KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


class ServerError(Exception):
    """The server did not come up as it should; `log` is the end of what it wrote."""

    def __init__(self, reason: str, log: list[str]) -> None:
        super().__init__(reason)
        self.log = log


class Server:
    """A running peer in a session of its own, to be used as a context manager."""

    def __init__(self, peer: Peer, core: int) -> None:
        self.port = _free_port()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            peer.command(self.port),
            cwd=HERE,
            env={name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            preexec_fn=lambda: _settle(core),  # noqa: PLW1509 - there are no threads here
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._stop()
        self._log.close()

    def ready(self, load: Load) -> Answer:
        """Waits for the first answer, which must be the one `load` asks for."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self._exited():
                raise self._error("ended before it answered")
            try:
                answer = ask(self.port, load.request)
            except OSError:
                time.sleep(POLL_SECONDS)
                continue
            except BadAnswerError as error:
                raise self._error(str(error)) from None
            if b" 200 " not in answer.status_line or answer.body != load.body:
                raise self._error(f"answered {answer.status_line!r} {answer.body[:40]!r}")
            return answer
        raise self._error(f"no answer within {READY_SECONDS:g} s")

    def last_lines(self, count: int = 8) -> list[str]:
        self._log.seek(0)
        text = self._log.read().decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-count:]

    def _error(self, reason: str) -> ServerError:
        log = self.last_lines()
        said = f" ({log[-1].strip()})" if log else ""
        return ServerError(f"{reason}{said}".replace(f"{ROOT}/", ""), log)

    def _stop(self) -> None:
        """SIGTERM to the server itself, then an end to whatever of its group is left."""
        try:
            os.kill(self.pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while not self._exited() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def _exited(self) -> bool:
        """Looks without reaping, so that the pid stays ours until the group is dealt with."""
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, look) is not None


def _settle(core: int) -> None:
    """In the child: stay on `core`, and end with the bench even when that is killed."""
    os.sched_setaffinity(0, {core})
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
