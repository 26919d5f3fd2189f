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
from prefork.master.generation import Generation, access_log, make_logs
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
        mouth: OutputPipes | None,
        daemon: bool,
        waits: bool,
    ) -> None:
        self._log = log
        self._access = access
        self._mouth = mouth
        self._daemon = daemon
        self._waits = waits
        self.log_access: Callable[[Exchange], None] | None = None
        if self._access is not None:
            self.log_access = self._access.write
        self._before = StandardDescriptors()
        if mouth is not None and not waits:
            self._print_to(mouth)

    def on_ready(self) -> None:
        """In a daemon's worker: the process that started it waits for the end of its output."""
        if self._mouth is not None and self._waits:
            self._print_to(self._mouth)
        elif self._mouth is None and self._daemon:
            self._complain(self._log.detach_terminal(self._before))
        if self._access is not None:
            self._access.reopen_stdout()

    def _print_to(self, mouth: OutputPipes) -> None:
        self._complain(mouth.use(self._before))
        self._log.reopen_streams()

    def _complain(self, left_alone: list[int]) -> None:
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

    def __init__(self, log: Log, config: Config, here: str, name: str) -> None:
        self._log = log
        self._daemon = config.daemon
        self._rotation = rotation(config)
        self._outlets: LogWriterProcess | None = None
        self.path = Path(here, config.log_dir, f"{name}.out") if config.log_dir else None

    def start(self, waiter: Poller, begin: Callable[[], None]) -> None:
        """Have a log writer, if there is something to write; it calls ``begin()`` first.

        Raises MachineError.
        """
        if self.path is None:
            return

        def begin_writer() -> None:
            begin()
            if self._daemon:
                self._log.detach_terminal()

        try:
            directory = Directory.open(self.path.parent, make=0o755)
        except OSError as error:
            why = f"cannot use {self.path.parent}: {error.strerror}; see --log-dir"
            raise MachineError(why) from error
        settings = (self._rotation, self._log, waiter, begin_writer)
        self._outlets = LogWriterProcess(directory, self.path.name, *settings)

    @property
    def logger(self) -> logging.Logger:
        """The master's own."""
        return self._log.logger

    # For the next worker.

    def open(self) -> OutputPipes | None:
        """Where the next worker will print. Raises MachineError."""
        return self._outlets.open() if self._outlets is not None else None

    def hand_over(self, mouth: OutputPipes | None, slot: int, pid: int) -> None:
        """The worker lives."""
        if self._outlets is not None and mouth is not None:
            self._outlets.hand_over(mouth, slot, pid)

    def in_worker(
        self, generation: Generation, order: Spawn, mouth: OutputPipes | None, starting: bool
    ) -> WorkerLogs:
        """In the child. ``starting``: no worker has ever been ready."""
        if mouth is not None:
            mouth.take(generation.identity.uid)
        access = access_log(generation.config, order.slot, order.generation, self._log.logger)
        waits = starting and self._daemon
        return WorkerLogs(self._log, access, mouth, self._daemon, waits)

    # What is asked.

    def reload(self, config: Config) -> None:
        """Settings that a reload can change."""
        self._log.set_level(config.log_level)
        self._rotation = rotation(config)
        if self._outlets is not None:
            self._outlets.set_rotation(self._rotation)

    def reopen(self, config: Config, identity: Identity) -> int | None:
        """All of them, after a rotation. The number of what the log writer was asked, if it was."""
        self._log.reopen()
        try:
            make_logs(config, identity)
        except MachineError as error:
            self._log.logger.error("%s", error)
        return self._outlets.ask("reopen") if self._outlets is not None else None

    def ask(self, what: str) -> int:
        """``rotate`` or ``flush``; the number of the wish. Raises PreforkError."""
        if self._outlets is None:
            raise UsageError("its output goes to no file; give it one with --log-dir")
        if what == "flush" and self._log.path:
            self._log.empty()
        return self._outlets.ask(what)

    def has_done(self, number: int | None) -> bool:
        """Whether the log writer did what was asked."""
        return number is None or self._outlets is None or self._outlets.has_done(number)

    # Housekeeping.

    def places(self) -> dict[str, str]:
        """The files, for whoever wants to read them."""
        files = {"log": self._log.path, "output": str(self.path or "")}
        return {name: path for name, path in files.items() if path}

    def settle(self) -> None:
        """Now and then: have a log writer again, if there could be none."""
        if self._outlets is not None:
            self._outlets.settle()

    def knows_pid(self, pid: int) -> bool:
        """Whether it is the log writer."""
        return self._outlets is not None and self._outlets.knows_pid(pid)

    def close_copy(self) -> None:
        """In a worker."""
        if self._outlets is not None:
            self._outlets.close_copy()

    def close(self) -> None:
        """No worker is left."""
        if self._outlets is not None:
            self._outlets.close()


def rotation(config: Config) -> RotationPolicy:
    """What the settings say about it."""
    return RotationPolicy(
        format=config.log_format,
        size=config.log_rotate_size,
        age=config.log_rotate_age,
        keep=config.log_keep,
        total=config.log_total,
        by_slot=config.log_split == "slot",
    )
