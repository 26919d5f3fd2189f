"""Workers' output: the master opens the pipes and hands them to the log writer.

The master never reads what is in them and never waits for the writer. It keeps the read ends until
the writer says that they came to their end, so that a writer may die at any time.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass

from prefork.master.auxiliary import AuxiliaryProcess
from prefork.observe.log_directory import become_owner_of
from prefork.observe.log_rotation import RotationPolicy
from prefork.observe.log_writer import LogWriter
from prefork.observe.logger import Log
from prefork.observe.output_files import OutputFiles
from prefork.observe.write_journal import WriteJournal
from prefork.unix.descriptor_channel import DescriptorChannel, open_channel_pair
from prefork.unix.directory import Directory
from prefork.unix.pipes import Pipe, open_output_pipe
from prefork.unix.poller import Poller
from prefork.unix.streams import StandardDescriptors, enable_line_buffering, flush_streams
from prefork.wire.log_writer_messages import (
    WorkerStream,
    decode_message,
    encode_message,
    message_number,
    unknown_message_error,
)

MAX_PAUSE = 5.0
"""Seconds that a writer rests at most, when those before it died young."""

FINAL_WRITE_TIMEOUT = 2.0
"""Seconds that the writer has, at the end, to write what is left."""


@dataclass(frozen=True, slots=True)
class OutputPipes:
    """Both pipes of a worker that is about to be forked."""

    out: Pipe
    err: Pipe

    def close(self) -> None:
        """It was not forked."""
        self.out.close()
        self.err.close()

    def take_write_ends(self, uid: int | None) -> None:
        """In the worker, while it is still who it was: later it may open /dev/stdout."""
        for pipe in (self.out, self.err):
            os.close(pipe.reader)
            if uid is not None:
                os.fchown(pipe.writer, uid, -1)

    def redirect_streams(self, before: StandardDescriptors) -> list[int]:
        """In the worker: what it prints goes there from now on, line by line. Returns the
        descriptors that belong to an app since ``before``."""
        flush_streams()
        pipes = {1: self.out.writer, 2: self.err.writer}
        left_alone = [fd for fd, writer in pipes.items() if not before.replace(fd, writer)]
        enable_line_buffering()
        for writer in pipes.values():
            os.close(writer)
        return left_alone


class LogWriterProcess:
    """All outlets of a master. ``directory`` and ``name``: of the log, in which the lines end.
    ``begin``: what the writer does first in its process."""

    def __init__(
        self,
        directory: Directory,
        name: str,
        rotation: RotationPolicy,
        log: Log,
        poller: Poller,
        enter_child: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._name = name
        self._rotation = rotation
        self._log = log
        self._enter_child = enter_child
        self._ledger = WriteJournal()
        self._open_pipes: dict[WorkerStream, int] = {}
        self._last_number = 0
        self._pending_orders: dict[int, str] = {}
        self._process: AuxiliaryProcess[DescriptorChannel] = AuxiliaryProcess(
            "log writer", poller, MAX_PAUSE, self._read, self._on_death, self._on_failure
        )
        self._spawn()

    # The writer.

    def _spawn(self) -> None:
        """Raises MachineError."""
        line, its_end = open_channel_pair()

        def live() -> int:
            self._enter_child()
            self._process.sleep_pause()  # here: it has the pipes, and writes the rest if the master ends
            become_owner_of(self._directory)
            outputs = OutputFiles(self._directory, self._name, self._rotation, self._log.logger)
            return LogWriter(self._open_pipes, its_end, outputs, self._ledger, self._log).run()

        self._process.spawn(line, its_end, live)
        for number, what in self._pending_orders.items():
            line.send(encode_message(what, number=number))  # it has the log as it is now

    def ensure_running(self) -> None:
        """Have a writer again, if there could be none."""
        self._process.ensure_running(self._spawn)

    def _on_death(self, why: str) -> None:
        self._log.logger.error("%s; no line is lost", why)
        self.ensure_running()

    def _on_failure(self, why: str) -> None:
        self._log.logger.error("there is no log writer: %s", why)

    def _read(self, line: DescriptorChannel) -> None:
        for data, _ in line.receive():
            if not data:
                raise EOFError
            say, details = decode_message(data)
            if say == "drained":
                self._close_drained(message_number(details))
            elif say == "done":
                self._pending_orders.pop(message_number(details), None)
            else:
                raise unknown_message_error(say)

    def _close_drained(self, number: int) -> None:
        for outlet in [outlet for outlet in self._open_pipes if outlet.number == number]:
            os.close(self._open_pipes.pop(outlet))

    def _send(self, data: bytes, fd: int | None = None) -> None:
        line = self._process.channel
        if line is not None and not line.send(data, fd):
            # It takes no post any more. Its successor inherits all that there is.
            self._process.kill()

    # Workers.

    def open(self) -> OutputPipes:
        """For the next worker. Raises MachineError."""
        out = open_output_pipe()
        try:
            return OutputPipes(out, open_output_pipe())
        except BaseException:
            out.close()
            raise

    def hand_over(self, output: OutputPipes, slot: int, pid: int) -> None:
        """The worker lives: the writer gets its pipes."""
        for stream, pipe in (("out", output.out), ("err", output.err)):
            os.close(pipe.writer)
            self._last_number += 1
            outlet = WorkerStream(self._last_number, slot, pid, stream)
            self._open_pipes[outlet] = pipe.reader
            self._send(encode_message("outlet", **asdict(outlet)), pipe.reader)

    # What is asked.

    def order(self, what: str) -> int:
        """Have the writer ``rotate``, ``flush`` or ``reopen``; the number of the wish."""
        self._last_number += 1
        self._pending_orders[self._last_number] = what
        self._send(
            encode_message(what, number=self._last_number),
            self._new_log() if what == "reopen" else None,
        )
        return self._last_number

    def _new_log(self) -> int | None:
        """The master's own log for the writer, which may not be the user who can open it. A later
        writer inherits that, and the directory."""
        with suppress(OSError):  # the writer says why
            self._directory.reopen()
        return self._log.file

    def has_done(self, number: int) -> bool:
        """Whether the wish is fulfilled."""
        return number not in self._pending_orders

    def set_rotation(self, rotation: RotationPolicy) -> None:
        """From now on."""
        self._rotation = rotation
        self._send(encode_message("settings", **asdict(rotation)))

    def knows_pid(self, pid: int) -> bool:
        """Whether it is the writer's."""
        return self._process.knows_pid(pid)

    def close_copy(self) -> None:
        """In a child."""
        self._process.close_copy()
        for reader in self._open_pipes.values():
            os.close(reader)
        self._directory.close()
        self._ledger.close_copy()

    def close(self) -> None:
        """No worker is left. Wait a moment for the last lines; a grandchild may go on printing, and
        then the writer stays with it."""
        if self._process:
            writer = self._process.detach()
            if writer.wait_for_exit(FINAL_WRITE_TIMEOUT):
                writer.reap()
