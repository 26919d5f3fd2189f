"""The status server as its master sees it: the sockets, the settings, and what it may ask of us.

The sockets are the master's, so that a status server that died is replaced without a refused
connection. It gets new settings by a successor: it holds nothing that would be lost but the samples
of its charts. What it asks comes over its line (observe/status/master_client.py), and what it may
ask is
decided here.
"""

import os
import posixpath
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from prefork.config import Config
from prefork.config.addresses import Tcp
from prefork.errors import UsageError
from prefork.master.auxiliary import Auxiliary
from prefork.master.control_server import Control
from prefork.master.generation import Generations
from prefork.master.master_logs import Logs
from prefork.observe.log_directory import logs_beside
from prefork.observe.logger import Log
from prefork.unix.control import Peer
from prefork.unix.descriptor_channel import Line, open_line
from prefork.unix.directory import Directory
from prefork.unix.identity import Identity, look_up
from prefork.unix.listeners import Listener, open_listeners
from prefork.unix.poller import Waiter
from prefork.unix.process import Child
from prefork.unix.scoreboard import Rows
from prefork.wire.log_writer_messages import message, number_of, read, unknown

LONGEST_PAUSE = 5.0
"""Seconds that one rests at most, when those before it died young."""

LAST_ANSWERS = 1.0
"""Seconds that it has, at the end, to leave by itself."""

LOOKS = frozenset({"why"})
CHANGES = frozenset({"reload", "scale"})
"""Verbs that it may put to the master, the second ones only if there is a token."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Those that a reload may change."""

    identity: Identity
    least: int
    token: bytes


def settings(config: Config, here: str) -> Settings:
    """Read and check them. Raises PreforkError."""
    token = b""
    if config.status_token is not None:
        from prefork.tls.credentials import read_secret  # noqa: PLC0415 - it brings OpenSSL

        source = config.status_token.anchored(lambda path: posixpath.join(here, path))
        token = read_secret(source, "status-token")
        if not token.isascii() or not token.decode().isprintable() or b" " in token or not token:
            raise UsageError(
                f"status-token: {source} holds no token: one word of ASCII is expected"
            )
    return Settings(look_up(config.user, config.group), config.min_ready, token)


class StatusServer:
    """``address`` None: there is none, and all of this does nothing. Raises PreforkError."""

    def __init__(
        self,
        config: Config,
        here: str,
        app: str,
        generations: Generations,
        waiter: Waiter,
        log: Log,
        logs: Logs,
        rows: Rows,
    ) -> None:
        self._waiter, self._log, self._logs, self._rows = waiter, log, logs, rows
        self._address = config.status
        self._here = here
        self._app = app
        self._daemon = config.daemon
        self._listeners: list[Listener] = []
        self._control: Control | None = None
        self._process: Auxiliary[Line] = Auxiliary(
            "status server", waiter, LONGEST_PAUSE, self._hear, self._on_death, self._on_failure
        )
        self._retired: set[Child] = set()
        """Those that finish what they were asked, while a successor has other settings."""
        try:
            self._settings = settings(config, here)
            if self._address is not None:
                # Now, so that the process shares its pages; and late, because few want it.
                import prefork.observe.status.status_loop  # noqa: F401, PLC0415

                if isinstance(self._address, Tcp) and self._address.scheme == "https":
                    raise UsageError("status: TLS is not spoken there; put a proxy in front of it")
                self._listeners = open_listeners(self._address, 128, generations.listeners())
        except BaseException:
            generations.close()
            raise

    def start(self, control: Control | None, begin: Callable[[], None]) -> None:
        """Have one, if it is wanted. ``control`` None: the master has no registry. ``begin``: what
        it does first in its process. Raises MachineError.
        """
        self._control, self._begin = control, begin
        if self._listeners:
            self._log.logger.info("status on %s", ", ".join(map(str, self._listeners)))
            self._warn()
            self._bear()

    def _warn(self) -> None:
        """Of what is legal, but hardly meant."""
        names = [each.socket.getsockname() for each in self._listeners]
        far = [n[0] for n in names if isinstance(n, tuple) and not ip_address(n[0]).is_loopback]
        if far and not self._settings.token:
            text = (
                "status: whoever reaches %s reads the log there; a status-token keeps it from them"
            )
            self._log.logger.warning(text, ", ".join(far))

    # The process.

    def _bear(self) -> None:
        """Raises MachineError."""
        line, its_end = open_line()
        listeners, master = self._listeners, os.getpid()

        def live() -> int:
            self._listeners = []  # those are not to be let go of
            self._begin()  # closes what it has of the others
            if self._daemon:
                self._log.redirect()
            self._process.rest()
            return self._be(listeners, its_end, master)

        self._process.bear(line, its_end, live)

    def _be(self, listeners: list[Listener], line: Line, master: int) -> int:
        """The whole life; the exit code."""
        from prefork.observe.status.status_loop import Birth, live  # noqa: PLC0415

        address = self._address
        birth = Birth(
            app=self._app,
            sockets=[listener.socket for listener in listeners],
            name=address.host if isinstance(address, Tcp) else self._inherited_name(listeners),
            rows=self._rows,
            line=line,
            talks=self._control is not None,
            identity=self._settings.identity,
            master=master,
            least=self._settings.least,
            token=self._settings.token,
            log=self._log.logger,
        )
        return live(birth)

    @staticmethod
    def _inherited_name(listeners: list[Listener]) -> str | None:
        return None if listeners[0].socket.family == socket.AF_UNIX else "localhost"

    def _on_death(self, why: str) -> None:
        self._log.logger.error("%s; here is another", why)

    def _on_failure(self, why: str) -> None:
        self._log.logger.error("there is no status server: %s", why)

    def _retire(self) -> None:
        child = self._process.let_go()  # which it takes for its end
        self._retired.add(child)

        def gone() -> None:
            self._waiter.forget(child.pidfd)
            self._retired.remove(child)
            child.reap()

        self._waiter.watch(child.pidfd, gone)

    def settle(self) -> None:
        """After each turn of the master: have one again, at the latest when the machine allows."""
        if self._listeners:
            self._process.settle(self._bear)

    # What it asks.

    def _hear(self, line: Line) -> None:
        for data, _ in line.receive():
            if not data:
                raise EOFError
            say, details = read(data)
            if say == "talk":
                self._introduce(line, number_of(details))
            elif say == "logs":
                self._hand_out_logs(line)
            else:
                raise unknown(say)

    def _introduce(self, line: Line, number: int) -> None:
        """It gets one end of a socket pair; the other one is a client of the control protocol. The
        pair is ours, so that no descriptor of a process that may be hostile gets here."""
        if self._control is None:
            return
        try:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:
            return  # out of descriptors; it asks again
        with its:
            allowed = LOOKS | CHANGES if self._settings.token else LOOKS
            if line.send(message("talk", number=number), its.fileno()):
                self._control.admit(Peer(ours), allowed)
            else:
                ours.close()

    def _hand_out_logs(self, line: Line) -> None:
        """Open, because the status server may not be who may."""
        for place in self._logs.places().values():
            with suppress(OSError):  # no worker has printed anything yet, or it is another user's
                for path in logs_beside(Path(place)):
                    self._hand_out(line, path)
        line.send(message("that_is_all"))

    @staticmethod
    def _hand_out(line: Line, path: Path) -> None:
        with suppress(OSError):
            folder, name = Directory.of(path)
            with folder:
                fd = folder.open_regular(name)
            line.send(message("log"), fd)
            os.close(fd)

    # What happens to the master.

    def read(self, config: Config) -> Settings:
        """Those of a reload. Raises PreforkError."""
        return settings(config, self._here)

    def adopt(self, new: Settings) -> None:
        """From now on these: by a successor, if they differ."""
        if new != self._settings:
            self._settings = new
            if self._process:
                self._retire()
                self.settle()

    def knows_pid(self, pid: int) -> bool:
        """Whether it is its."""
        return self._process.knows_pid(pid) or any(pid == child.pid for child in self._retired)

    def close_copy(self) -> None:
        """In a child."""
        self._process.close_copy()
        for child in self._retired:
            os.close(child.pidfd)
        for listener in self._listeners:
            listener.socket.close()

    def close(self) -> None:
        """The master is at its end; until then it was told that the app is not ready."""
        if self._process:
            self._retire()
        deadline = time.monotonic() + LAST_ANSWERS
        for child in self._retired:
            if not child.ends_within(deadline - time.monotonic()):
                child.send(signal.SIGKILL)
            child.reap()
        for listener in self._listeners:
            listener.close()
