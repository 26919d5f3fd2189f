"""The status server as its master sees it: the sockets, the settings, and what it may ask of us.

The sockets are the master's, so that a status server that died is replaced without a refused
connection. It gets new settings by a successor: it holds nothing that would be lost but the samples
of its charts. What it asks comes over its line (observe/status/master_client.py), and what it may
ask is
decided start_dir.
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
from prefork.config.addresses import TcpAddress
from prefork.errors import UsageError
from prefork.master.auxiliary import AuxiliaryProcess
from prefork.master.control_server import ControlServer
from prefork.master.generation import Generations
from prefork.master.master_logs import MasterLogs
from prefork.observe.log_directory import list_log_files
from prefork.observe.logger import Log
from prefork.unix.control import ControlConnection
from prefork.unix.descriptor_channel import DescriptorChannel, open_channel_pair
from prefork.unix.directory import Directory
from prefork.unix.identity import Identity, resolve_identity
from prefork.unix.listeners import Listener, open_listeners
from prefork.unix.poller import Poller
from prefork.unix.process import Child
from prefork.unix.scoreboard import Rows
from prefork.wire.log_writer_messages import (
    decode_message,
    encode_message,
    message_number,
    unknown_message_error,
)

MAX_PAUSE = 5.0
"""Seconds that one rests at most, when those before it died young."""

EXIT_TIMEOUT = 1.0
"""Seconds that it has, at the end, to leave by itself."""

READ_VERBS = frozenset({"why"})
CHANGE_VERBS = frozenset({"reload", "scale"})
"""Verbs that it may put to the master, the second ones only if there is a token."""


@dataclass(frozen=True, slots=True)
class StatusSettings:
    """Those that a reload may change."""

    identity: Identity
    min_ready: int
    token: bytes


def read_status_settings(config: Config, start_dir: str) -> StatusSettings:
    """Read and check them. Raises PreforkError."""
    token = b""
    if config.status_token is not None:
        from prefork.tls.credentials import read_secret  # noqa: PLC0415 - it brings OpenSSL

        source = config.status_token.resolve_paths(lambda path: posixpath.join(start_dir, path))
        token = read_secret(source, "status-token")
        if not token.isascii() or not token.decode().isprintable() or b" " in token or not token:
            raise UsageError(
                f"status-token: {source} holds no token: one word of ASCII is expected"
            )
    return StatusSettings(resolve_identity(config.user, config.group), config.min_ready, token)


class StatusProcess:
    """``address`` None: there is none, and all of this does nothing. Raises PreforkError."""

    def __init__(
        self,
        config: Config,
        start_dir: str,
        app: str,
        generations: Generations,
        poller: Poller,
        log: Log,
        logs: MasterLogs,
        rows: Rows,
    ) -> None:
        self._poller, self._log, self._logs, self._rows = poller, log, logs, rows
        self._address = config.status
        self._start_dir = start_dir
        self._app = app
        self._daemon = config.daemon
        self._listeners: list[Listener] = []
        self._control: ControlServer | None = None
        self._process: AuxiliaryProcess[DescriptorChannel] = AuxiliaryProcess(
            "status server", poller, MAX_PAUSE, self._read, self._on_death, self._on_failure
        )
        self._leaving: set[Child] = set()
        """Those that finish what they were asked, while a successor has other settings."""
        try:
            self._settings = read_status_settings(config, start_dir)
            if self._address is not None:
                # Now, so that the process shares its pages; and late, because few want it.
                import prefork.observe.status.status_loop  # noqa: F401, PLC0415

                if isinstance(self._address, TcpAddress) and self._address.scheme == "https":
                    raise UsageError("status: TLS is not spoken there; put a proxy in front of it")
                self._listeners = open_listeners(self._address, 128, generations.listeners())
        except BaseException:
            generations.close()
            raise

    def start(self, control: ControlServer | None, enter_child: Callable[[], None]) -> None:
        """Have one, if it is wanted. ``control`` None: the master has no registry. ``begin``: what
        it does first in its process. Raises MachineError.
        """
        self._control, self._enter_child = control, enter_child
        if self._listeners:
            self._log.logger.info("status on %s", ", ".join(map(str, self._listeners)))
            self._warn_if_exposed()
            self._spawn()

    def _warn_if_exposed(self) -> None:
        """Of what is legal, but hardly meant."""
        names = [each.socket.getsockname() for each in self._listeners]
        far = [n[0] for n in names if isinstance(n, tuple) and not ip_address(n[0]).is_loopback]
        if far and not self._settings.token:
            text = (
                "status: whoever reaches %s reads the log there; a status-token keeps it from them"
            )
            self._log.logger.warning(text, ", ".join(far))

    # The process.

    def _spawn(self) -> None:
        """Raises MachineError."""
        line, its_end = open_channel_pair()
        listeners, master = self._listeners, os.getpid()

        def live() -> int:
            self._listeners = []  # those are not to be let go of
            self._enter_child()  # closes what it has of the others
            if self._daemon:
                self._log.detach_terminal()
            self._process.sleep_pause()
            return self._run(listeners, its_end, master)

        self._process.spawn(line, its_end, live)

    def _run(self, listeners: list[Listener], line: DescriptorChannel, master: int) -> int:
        """The whole life; the exit code."""
        from prefork.observe.status.status_loop import StatusServerContext, run_status_server  # noqa: PLC0415

        address = self._address
        birth = StatusServerContext(
            app=self._app,
            sockets=[listener.socket for listener in listeners],
            host=address.host if isinstance(address, TcpAddress) else self._unnamed_host(listeners),
            rows=self._rows,
            channel=line,
            has_control=self._control is not None,
            identity=self._settings.identity,
            master=master,
            min_ready=self._settings.min_ready,
            token=self._settings.token,
            log=self._log.logger,
        )
        return run_status_server(birth)

    @staticmethod
    def _unnamed_host(listeners: list[Listener]) -> str | None:
        return None if listeners[0].socket.family == socket.AF_UNIX else "localhost"

    def _on_death(self, why: str) -> None:
        self._log.logger.error("%s; a new one is started", why)

    def _on_failure(self, why: str) -> None:
        self._log.logger.error("there is no status server: %s", why)

    def _detach(self) -> None:
        child = self._process.detach()  # which it takes for its end
        self._leaving.add(child)

        def gone() -> None:
            self._poller.remove(child.pidfd)
            self._leaving.remove(child)
            child.reap()

        self._poller.add_reader(child.pidfd, gone)

    def ensure_running(self) -> None:
        """After each turn of the master: have one again, at the latest when the machine allows."""
        if self._listeners:
            self._process.ensure_running(self._spawn)

    # What it asks.

    def _read(self, line: DescriptorChannel) -> None:
        for data, _ in line.receive():
            if not data:
                raise EOFError
            say, details = decode_message(data)
            if say == "talk":
                self._open_session(line, message_number(details))
            elif say == "logs":
                self._send_logs(line)
            else:
                raise unknown_message_error(say)

    def _open_session(self, line: DescriptorChannel, number: int) -> None:
        """It gets one end of a socket pair; the other one is a client of the control protocol. The
        pair is ours, so that no descriptor of a process that may be hostile gets here."""
        if self._control is None:
            return
        try:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:
            return  # out of descriptors; it asks again
        with its:
            allowed = READ_VERBS | CHANGE_VERBS if self._settings.token else READ_VERBS
            if line.send(encode_message("talk", number=number), its.fileno()):
                self._control.add_session(ControlConnection(ours), allowed)
            else:
                ours.close()

    def _send_logs(self, line: DescriptorChannel) -> None:
        """Open, because the status server may not be who may."""
        for place in self._logs.log_paths().values():
            with suppress(OSError):  # no worker has printed anything yet, or it is another user's
                for path in list_log_files(Path(place)):
                    self._send_log(line, path)
        line.send(encode_message("that_is_all"))

    @staticmethod
    def _send_log(line: DescriptorChannel, path: Path) -> None:
        with suppress(OSError):
            folder, name = Directory.open_parent(path)
            with folder:
                fd = folder.open_regular(name)
            line.send(encode_message("log"), fd)
            os.close(fd)

    # What happens to the master.

    def read_settings(self, config: Config) -> StatusSettings:
        """Those of a reload. Raises PreforkError."""
        return read_status_settings(config, self._start_dir)

    def apply_settings(self, new: StatusSettings) -> None:
        """From now on these: by a successor, if they differ."""
        if new != self._settings:
            self._settings = new
            if self._process:
                self._detach()
                self.ensure_running()

    def knows_pid(self, pid: int) -> bool:
        """Whether it is its."""
        return self._process.knows_pid(pid) or any(pid == child.pid for child in self._leaving)

    def close_copy(self) -> None:
        """In a child."""
        self._process.close_copy()
        for child in self._leaving:
            os.close(child.pidfd)
        for listener in self._listeners:
            listener.socket.close()

    def close(self) -> None:
        """The master is at its end; until then it was told that the app is not ready."""
        if self._process:
            self._detach()
        deadline = time.monotonic() + EXIT_TIMEOUT
        for child in self._leaving:
            if not child.wait_for_exit(deadline - time.monotonic()):
                child.send_signal(signal.SIGKILL)
            child.reap()
        for listener in self._listeners:
            listener.close()
