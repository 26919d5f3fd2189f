"""All logs of a master: its own, the access log, and what its workers print.

Without ``--log-dir`` workers print where the master does. With it, they print into the outlets that
the log writer reads.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from prefork.config import Config
from prefork.errors import MachineError, UsageError
from prefork.master.generation import Generation, create_log_files, make_access_log
from prefork.master.output_pipes import LogWriterProcess, OutputPipes
from prefork.observe.log_rotation import RotationPolicy
from prefork.observe.logger import Log
from prefork.pool.orders import Spawn
from prefork.unix.directory import Directory
from prefork.unix.identity import Identity
from prefork.unix.poller import Poller
from prefork.unix.streams import StandardDescriptors

if TYPE_CHECKING:
    from prefork.http.exchange import Exchange
    from prefork.observe.access_log import AccessLog


class WorkerLogs:
    """In a worker: the logs that it writes. ``waits``: it lets go of the starter's terminal only
    when it is ready, so that a traceback is seen."""

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
        if self._access is not None:
            self.log_access = self._access.write
        self._descriptors_before = StandardDescriptors()
        if output is not None and not keeps_terminal:
            self._print_to(output)

    def on_ready(self) -> None:
        """In a daemon's worker: the process that started it waits for the end of its output."""
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
        for fd in left_alone:
            self._log.logger.warning(
                "the app closed descriptor %d, which is a file of its own now; what it prints "
                "there is in no log",
                fd,
            )

    def open(self) -> None:
        """While we are still who may."""
        if self._access is not None:
            self._access.open()

    def reopen(self) -> None:
        """Follow a rotation."""
        self._log.reopen()
        if self._access is not None:
            self._access.reopen()

    def flush(self) -> None:
        """Write what was collected, as far as there is room soon."""
        if self._access is not None:
            self._access.flush()
        self._log.flush()


class MasterLogs:
    """In the master. ``path``: of the file that the workers' output goes to; None: to no file."""

    def __init__(self, log: Log, config: Config, start_dir: str, name: str) -> None:
        self._log = log
        self._daemon = config.daemon
        self._rotation = rotation_settings(config)
        self._log_writer: LogWriterProcess | None = None
        self.path = Path(start_dir, config.log_dir, f"{name}.out") if config.log_dir else None

    def start_writer(self, poller: Poller, enter_child: Callable[[], None]) -> None:
        """Have a log writer, if there is something to write; it calls ``begin()`` first.

        Raises MachineError.
        """
        if self.path is None:
            return

        def begin_writer() -> None:
            enter_child()
            if self._daemon:
                self._log.detach_terminal()

        try:
            directory = Directory.open(self.path.parent, make=0o755)
        except OSError as error:
            why = f"cannot use {self.path.parent}: {error.strerror}; see --log-dir"
            raise MachineError(why) from error
        settings = (self._rotation, self._log, poller, begin_writer)
        self._log_writer = LogWriterProcess(directory, self.path.name, *settings)

    @property
    def logger(self) -> logging.Logger:
        """The master's own."""
        return self._log.logger

    # For the next worker.

    def open_output(self) -> OutputPipes | None:
        """Where the next worker will print. Raises MachineError."""
        return self._log_writer.open() if self._log_writer is not None else None

    def hand_over_output(self, output: OutputPipes | None, slot: int, pid: int) -> None:
        """The worker lives."""
        if self._log_writer is not None and output is not None:
            self._log_writer.hand_over(output, slot, pid)

    def make_worker_logs(
        self, generation: Generation, order: Spawn, output: OutputPipes | None, starting: bool
    ) -> WorkerLogs:
        """In the child. ``starting``: no worker has ever been ready."""
        if output is not None:
            output.take_write_ends(generation.identity.uid)
        access = make_access_log(generation.config, order.slot, order.generation, self._log.logger)
        waits = starting and self._daemon
        return WorkerLogs(self._log, access, output, self._daemon, waits)

    # What is asked.

    def reload(self, config: Config) -> None:
        """Settings that a reload can change."""
        self._log.set_level(config.log_level)
        self._rotation = rotation_settings(config)
        if self._log_writer is not None:
            self._log_writer.set_rotation(self._rotation)

    def reopen(self, config: Config, identity: Identity) -> int | None:
        """All of them, after a rotation. The number of what the log writer was asked, if it was."""
        self._log.reopen()
        try:
            create_log_files(config, identity)
        except MachineError as error:
            self._log.logger.error("%s", error)
        return self._log_writer.order("reopen") if self._log_writer is not None else None

    def order(self, what: str) -> int:
        """``rotate`` or ``flush``; the number of the wish. Raises PreforkError."""
        if self._log_writer is None:
            raise UsageError("its output goes to no file; give it one with --log-dir")
        if what == "flush" and self._log.path:
            self._log.empty()
        return self._log_writer.order(what)

    def has_done(self, number: int | None) -> bool:
        """Whether the log writer did what was asked."""
        return number is None or self._log_writer is None or self._log_writer.has_done(number)

    # Housekeeping.

    def log_paths(self) -> dict[str, str]:
        """The files, for whoever wants to read them."""
        files = {"log": self._log.path, "output": str(self.path or "")}
        return {name: path for name, path in files.items() if path}

    def ensure_writer(self) -> None:
        """Now and then: have a log writer again, if there could be none."""
        if self._log_writer is not None:
            self._log_writer.ensure_running()

    def knows_pid(self, pid: int) -> bool:
        """Whether it is the log writer."""
        return self._log_writer is not None and self._log_writer.knows_pid(pid)

    def close_copy(self) -> None:
        """In a worker."""
        if self._log_writer is not None:
            self._log_writer.close_copy()

    def close(self) -> None:
        """No worker is left."""
        if self._log_writer is not None:
            self._log_writer.close()


def rotation_settings(config: Config) -> RotationPolicy:
    """What the settings say about it."""
    return RotationPolicy(
        format=config.log_format,
        size=config.log_rotate_size,
        age=config.log_rotate_age,
        keep=config.log_keep,
        total=config.log_total,
        by_slot=config.log_split == "slot",
    )
