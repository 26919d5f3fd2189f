"""All logs of a master: its own log, the access log, and the output of its workers.

Without ``--log-dir`` workers print where the master does. With it they print into pipes that the
log writer reads.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from prefork.config import Config
from prefork.errors import MachineError, UsageError
from prefork.master.generation import Generation, create_log_files, make_access_log
from prefork.master.master_record import AuxiliaryRecord, OutputRecord
from prefork.master.output_pipes import LogWriterProcess, OutputPipes
from prefork.observe.log_rotation import RotationPolicy
from prefork.observe.logger import Log
from prefork.pool.orders import Spawn
from prefork.unix.directory import Directory
from prefork.unix.identity import Identity
from prefork.unix.poller import Poller
from prefork.unix.streams import StandardDescriptors

if TYPE_CHECKING:
    from prefork.http.answered_exchange import LogPlain
    from prefork.http.exchange import Exchange
    from prefork.observe.access_log import AccessLog


class WorkerLogs:
    """The logs that a worker writes, in the worker.

    ``access``: its access log, if there is one. ``output``: the pipes for what it prints; None: it
    prints where the master does. ``keeps_terminal``: its output goes to the terminal of a daemon's
    starter until it is ready, so that a traceback of the app is seen there.
    ``log_access``: the function that logs a request; None: there is no access log. ``log_plain``:
    the same for plain requests, if there is one for them.
    """

    def __init__(
        self,
        log: Log,
        access: "AccessLog | None",
        output: OutputPipes | None,
        daemon: bool,
        keeps_terminal: bool,
    ) -> None:
        self._log = log
        self._access = access
        self._output = output
        self._daemon = daemon
        self._keeps_terminal = keeps_terminal
        self.log_access: Callable[[Exchange], None] | None = None
        self.log_plain: LogPlain | None = None
        if self._access is not None:
            self.log_access, self.log_plain = self._access.log_request, self._access.log_plain
        self._descriptors_before = StandardDescriptors()
        if output is not None and not keeps_terminal:
            self._print_to(output)

    def on_ready(self) -> None:
        """Let go of the terminal, and open the access log's stdout anew.

        The process that started the daemon waits for the end of its output.
        """
        if self._output is not None and self._keeps_terminal:
            self._print_to(self._output)
        elif self._output is None and self._daemon:
            self._warn_of_reused(self._log.detach_terminal(self._descriptors_before))
        if self._access is not None:
            self._access.reopen_stdout()

    def _print_to(self, output: OutputPipes) -> None:
        self._warn_of_reused(output.redirect_streams(self._descriptors_before))
        self._log.reopen_streams()

    def _warn_of_reused(self, left_alone: list[int]) -> None:
        """Log which standard descriptors were not redirected, because they became other files."""
        for fd in left_alone:
            self._log.logger.warning(
                "the app closed descriptor %d, which is a file of its own now; what it prints "
                "there is in no log",
                fd,
            )

    def open(self) -> None:
        """Open the access log, while the process may still do so as its first user."""
        if self._access is not None:
            self._access.open()

    def reopen(self) -> None:
        """Open the files anew after a rotation."""
        self._log.reopen()
        if self._access is not None:
            self._access.reopen()

    def flush(self) -> None:
        """Write what is buffered, as far as the files take it soon."""
        if self._access is not None:
            self._access.flush()
        self._log.flush()


class MasterLogs:
    """The logs of the master, and what it needs for those of its workers.

    ``path``: the file that the output of workers is written to; None: to no file.
    """

    def __init__(self, log: Log, config: Config, start_dir: str, name: str) -> None:
        self._log = log
        self._daemon = config.daemon
        self._rotation = rotation_settings(config)
        self._log_writer: LogWriterProcess | None = None
        self.path = Path(start_dir, config.log_dir, f"{name}.out") if config.log_dir else None

    def start_writer(self, poller: Poller, enter_child: Callable[[], None]) -> None:
        """Spawn the log writer if the settings want one. It calls ``enter_child`` first.

        Raises MachineError.
        """
        if self.path is None:
            return

        def enter_writer() -> None:
            enter_child()
            if self._daemon:
                self._log.detach_terminal()

        try:
            directory = Directory.open(self.path.parent, make=0o755)
        except OSError as error:
            why = f"cannot use {self.path.parent}: {error.strerror}; see --log-dir"
            raise MachineError(why) from error
        settings = (self._rotation, self._log, poller, enter_writer)
        self._log_writer = LogWriterProcess(directory, self.path.name, *settings)

    @property
    def logger(self) -> logging.Logger:
        """The logger of the master."""
        return self._log.logger

    # Workers.

    def open_output(self) -> OutputPipes | None:
        """Open pipes for the output of the next worker; None: there is no log writer.

        Raises MachineError.
        """
        return self._log_writer.open() if self._log_writer is not None else None

    def hand_over_output(self, output: OutputPipes | None, slot: int, pid: int) -> None:
        """Pass the pipes of a worker that was forked to the log writer."""
        if self._log_writer is not None and output is not None:
            self._log_writer.hand_over(output, slot, pid)

    def make_worker_logs(
        self, generation: Generation, order: Spawn, output: OutputPipes | None, starting: bool
    ) -> WorkerLogs:
        """Return the logs of a worker, in its process.

        ``starting``: no worker has been ready yet.
        """
        if output is not None:
            output.take_write_ends(generation.identity.uid)
        access = make_access_log(generation.config, order.slot, order.generation, self._log.logger)
        waits = starting and self._daemon
        return WorkerLogs(self._log, access, output, self._daemon, waits)

    # Requests.

    def reload(self, config: Config) -> None:
        """Apply the settings that a reload can change."""
        self._log.set_level(config.log_level)
        self._log.set_format(config.log_format)
        self._rotation = rotation_settings(config)
        if self._log_writer is not None:
            self._log_writer.set_rotation(self._rotation)

    def reopen(self, config: Config, identity: Identity) -> int | None:
        """Open all logs anew after a rotation.

        Returns the number of the order to the log writer; None: there is none.
        """
        self._log.reopen()
        try:
            create_log_files(config, identity)
        except MachineError as error:
            self._log.logger.error("%s", error)
        return self._log_writer.order("reopen") if self._log_writer is not None else None

    def order(self, what: str) -> int:
        """Order the log writer to ``rotate`` or ``flush``; return the number of the order.

        Raises PreforkError.
        """
        if self._log_writer is None:
            raise UsageError("its output goes to no file; give it one with --log-dir")
        if what == "flush" and self._log.path:
            self._log.empty()
        return self._log_writer.order(what)

    def has_done(self, number: int | None) -> bool:
        """Return whether the log writer carried out this order; None: there was none."""
        return number is None or self._log_writer is None or self._log_writer.has_done(number)

    # Housekeeping.

    def log_paths(self) -> dict[str, str]:
        """Return the paths of the log files by kind: "log" and "output"."""
        files = {"log": self._log.path, "output": str(self.path or "")}
        return {name: path for name, path in files.items() if path}

    def ensure_writer(self) -> None:
        """Spawn a log writer if none runs and one is due."""
        if self._log_writer is not None:
            self._log_writer.ensure_running()

    def records(self) -> list[AuxiliaryRecord]:
        """Return what the master holds of the log writer; empty: none runs."""
        return [] if self._log_writer is None else self._log_writer.records()

    def outputs(self) -> list[OutputRecord]:
        """Return the streams of all workers that go to the log writer."""
        return [] if self._log_writer is None else self._log_writer.outputs()

    def knows_pid(self, pid: int) -> bool:
        """Return whether ``pid`` is the log writer."""
        return self._log_writer is not None and self._log_writer.knows_pid(pid)

    def close_copy(self) -> None:
        """Close the copies of pipes and channel, in a worker."""
        if self._log_writer is not None:
            self._log_writer.close_copy()

    def close(self) -> None:
        """Wait a moment for the last lines, when no worker is left."""
        if self._log_writer is not None:
            self._log_writer.close()


def rotation_settings(config: Config) -> RotationPolicy:
    """Return the rotation of output files by these settings."""
    return RotationPolicy(
        format=config.log_format,
        size=config.log_rotate_size,
        age=config.log_rotate_age,
        keep=config.log_keep,
        total=config.log_total,
        by_slot=config.log_split == "slot",
    )
