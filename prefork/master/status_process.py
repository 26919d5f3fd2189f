"""The status server as the master sees it: its sockets, its settings, and what it may ask for.

The sockets belong to the master, so that a status server that died is replaced without a refused
connection. Its requests come over its channel (``observe/status/master_client.py``), and this
module decides which of them are allowed.

Design
------
- **The status server answers health, metrics and slots from shared memory alone.** Deaths, log,
  reload and scale need the master; those answers wait for it, no other does. The status server runs
  as the user of the workers, so it can open neither the control socket nor the logs. Over the
  channel from its fork it asks for one end of a socket pair, whose other end ``control_server.py``
  takes for a client with a few verbs (``PageAccess`` of wire/verb.py), and it is handed open logs.
  An attacker who takes it over gets that and no more.
- **New settings come with a successor;** the status server before finishes its answers. Only its
  samples are lost, and a page that is open has its own.
- **Reading takes no token, changing does.** Elsewhere than on a loopback address without a token
  the log has a warning, because secrets may be in the log.
"""

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from prefork.config import Config
from prefork.config.addresses import TcpAddress
from prefork.config.target import resolve_name
from prefork.errors import UsageError
from prefork.master.auxiliary import AuxiliaryProcess
from prefork.master.control_server import ControlServer
from prefork.master.generation import Generations
from prefork.master.master_logs import MasterLogs
from prefork.master.master_record import AuxiliaryRecord
from prefork.master.status_settings import StatusSettings, read_status_settings
from prefork.observe.log_directory import list_log_files
from prefork.observe.logger import Log
from prefork.unix.control import ControlConnection
from prefork.unix.descriptor_channel import DescriptorChannel, open_channel_pair
from prefork.unix.directory import Directory
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
from prefork.wire.verb_table import requests_of_page
from prefork.worker.store_setup import locate_store

MAX_PAUSE = 5.0
"""The longest pause in seconds of a status server, after status servers died young."""

CHECK_TIMEOUT = 2.0
"""Seconds for which a check of the store waits for a process that holds it."""

EXIT_TIMEOUT = 1.0
"""Seconds that it has to exit by itself, at the end of the master."""


class StatusProcess:
    """The status server and its successors. Without ``--status`` it does nothing.

    ``app``: the name of the app. ``rows``: the rows of the scoreboard. Raises PreforkError.
    """

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
        self._name = resolve_name(config)
        self.store_folder = ""
        """Folder of the files of the store; empty: there is none."""
        self._daemon = config.daemon
        self._listeners: list[Listener] = []
        self._control: ControlServer | None = None
        self._process: AuxiliaryProcess[DescriptorChannel] = AuxiliaryProcess(
            "status server", poller, MAX_PAUSE, self._read, self._on_death, self._on_failure
        )
        self._leaving: set[Child] = set()
        """Status servers that finish their answers, while a successor has other settings."""
        try:
            self._settings = read_status_settings(config, start_dir)
            if self._address is not None:
                # Imported before the fork, so that the process shares the pages, and only here,
                # because few masters need it.
                import prefork.observe.status.status_loop  # noqa: F401, PLC0415

                if isinstance(self._address, TcpAddress) and self._address.scheme == "https":
                    raise UsageError(
                        "status: TLS is not supported there; put a proxy in front of it"
                    )
                self._listeners = open_listeners(self._address, 128, generations.listeners())
        except BaseException:
            generations.close()
            raise

    def start(self, control: ControlServer | None, enter_child: Callable[[], None]) -> None:
        """Spawn a status server if the settings want one.

        ``control``: the control server; None: the master has none. ``enter_child``: called first in
        the new process. Raises MachineError.
        """
        self._control, self._enter_child = control, enter_child
        self._warn_of_required_store()
        if self._listeners:
            self._log.logger.info("status on %s", ", ".join(map(str, self._listeners)))
            self._warn_if_exposed()
            self._spawn()

    def _warn_of_required_store(self) -> None:
        """Log a warning if ``--store-required`` cannot do what it is for."""
        store = self._settings.required_store
        if store is not None and not self._listeners:
            self._log.logger.warning("store-required: set --status, whose /readyz it changes")
        elif store is not None and store[0] == "off":
            self._log.logger.warning("store-required: /readyz says 503, because the store is off")

    def _warn_if_exposed(self) -> None:
        """Log a warning if other machines can read the log without a token."""
        names = [each.socket.getsockname() for each in self._listeners]
        far = [n[0] for n in names if isinstance(n, tuple) and not ip_address(n[0]).is_loopback]
        if far and not self._settings.token:
            text = (
                "status: every client that reaches %s can read the log there; "
                "set status-token to prevent that"
            )
            self._log.logger.warning(text, ", ".join(far))

    # The process.

    def _spawn(self) -> None:
        """Spawn a status server. Raises MachineError."""
        ours, theirs = open_channel_pair()
        listeners, master = self._listeners, os.getpid()

        def main() -> int:
            self._listeners = []  # so that ``close_copy`` leaves them open
            self._enter_child()
            if self._daemon:
                self._log.detach_terminal()
            self._process.sleep_pause()
            return self._run(listeners, theirs, master)

        self._process.spawn(ours, theirs, main)

    def _run(self, listeners: list[Listener], channel: DescriptorChannel, master: int) -> int:
        """Run the status server in its process; return its exit code."""
        from prefork.observe.status.status_loop import StatusServerContext, run_status_server  # noqa: PLC0415

        address = self._address
        context = StatusServerContext(
            app=self._app,
            sockets=[listener.socket for listener in listeners],
            host=address.host if isinstance(address, TcpAddress) else self._unnamed_host(listeners),
            rows=self._rows,
            channel=channel,
            has_control=self._control is not None,
            identity=self._settings.identity,
            master=master,
            min_ready=self._settings.min_ready,
            token=self._settings.token,
            log=self._log.logger,
            check_store=self._make_check(),
        )
        return run_status_server(context)

    def _make_check(self) -> Callable[[], None] | None:
        """Return what raises PreforkError if a worker could not use the store now; None: it is not
        required. Called before the process becomes the user of the workers."""
        if self._settings.required_store is None:
            return None
        from prefork.store.current_store import open_backend  # noqa: PLC0415 - see above

        kind, size = self._settings.required_store
        identity, log = self._settings.identity, self._log.logger
        place = locate_store(kind, size, self._name, self.store_folder, identity, log)
        return lambda: open_backend(place).require_writable(CHECK_TIMEOUT)

    @staticmethod
    def _unnamed_host(listeners: list[Listener]) -> str | None:
        """Return the host name that requests may use on a socket without a configured host."""
        return None if listeners[0].socket.family == socket.AF_UNIX else "localhost"

    def _on_death(self, why: str) -> None:
        self._log.logger.error("%s; a new one is started", why)

    def _on_failure(self, why: str) -> None:
        self._log.logger.error("cannot start the status server: %s; trying again in a second", why)

    def _detach(self) -> None:
        """Let the present status server finish, and reap it when it ends.

        Its channel is closed, which tells it to end.
        """
        child = self._process.detach()
        self._leaving.add(child)

        def gone() -> None:
            self._poller.remove(child.pidfd)
            self._leaving.remove(child)
            child.reap()

        self._poller.add_reader(child.pidfd, gone)

    def ensure_running(self) -> None:
        """Spawn a status server if one is wanted, none runs and one is due."""
        if self._listeners:
            self._process.ensure_running(self._spawn)

    # Requests of the status server.

    def _read(self, channel: DescriptorChannel) -> None:
        """Read messages. Raises EOFError at the end, ValueError for an invalid message."""
        for data, _ in channel.receive():
            if not data:
                raise EOFError
            kind, details = decode_message(data)
            if kind == "talk":
                self._open_session(channel, message_number(details))
            elif kind == "logs":
                self._send_logs(channel)
            else:
                raise unknown_message_error(kind)

    def _open_session(self, channel: DescriptorChannel, number: int) -> None:
        """Send it one end of a socket pair, whose other end becomes a control session.

        The master makes the pair, so that it receives no descriptor of a process that may be
        hostile.
        """
        if self._control is None:
            return
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:
            return  # out of descriptors; the status server asks again
        with theirs:
            allowed = requests_of_page(has_token=bool(self._settings.token))
            if channel.send(encode_message("talk", number=number), theirs.fileno()):
                self._control.add_session(ControlConnection(ours), allowed)
            else:
                ours.close()

    def _send_logs(self, channel: DescriptorChannel) -> None:
        """Send it the log files as open descriptors, because its user may not open them."""
        for log in self._logs.log_paths().values():
            with suppress(OSError):  # no worker printed anything yet, or another user owns it
                for path in list_log_files(Path(log)):
                    self._send_log(channel, path)
        channel.send(encode_message("that_is_all"))

    @staticmethod
    def _send_log(channel: DescriptorChannel, path: Path) -> None:
        with suppress(OSError):
            folder, name = Directory.open_parent(path)
            with folder:
                fd = folder.open_regular(name)
            channel.send(encode_message("log"), fd)
            os.close(fd)

    # Reload and end.

    def apply_settings(self, new: StatusSettings) -> None:
        """Apply new settings by a successor, if they differ."""
        if new != self._settings:
            self._settings = new
            if self._process:
                self._detach()
                self.ensure_running()

    def records(self) -> list[AuxiliaryRecord]:
        """Return what the master holds of its status servers, with those that still answer."""
        leaving = [
            AuxiliaryRecord("leaving status server", child.pid, 0.0, {"pidfd": child.pidfd})
            for child in self._leaving
        ]
        return self._process.records() + leaving

    def listeners(self) -> list[Listener]:
        """Return the sockets of the status server."""
        return list(self._listeners)

    def knows_pid(self, pid: int) -> bool:
        """Return whether ``pid`` is a status server."""
        return self._process.knows_pid(pid) or any(pid == child.pid for child in self._leaving)

    def close_copy(self) -> None:
        """Close the copies of all descriptors, in a child."""
        self._process.close_copy()
        for child in self._leaving:
            os.close(child.pidfd)
        for listener in self._listeners:
            listener.socket.close()

    def close(self) -> None:
        """End all status servers, at the end of the master.

        Until then they tell health checks that the app is not ready.
        """
        if self._process:
            self._detach()
        deadline = time.monotonic() + EXIT_TIMEOUT
        for child in self._leaving:
            if not child.wait_for_exit(deadline - time.monotonic()):
                child.send_signal(signal.SIGKILL)
            child.reap()
        for listener in self._listeners:
            listener.close()
