"""The output of workers: the master opens the pipes and hands them to the log writer.

The master never reads the pipes and never waits for the log writer. It keeps the read ends until
the log writer reports that a pipe is at its end, so that a log writer may die at any time.

Design
------
- **The master hands the pipes to the log writer at its fork, and later ones with SCM_RIGHTS.** A
  log writer that takes no more messages is killed, and its successor inherits all pipes. One that
  died young lets its successor sleep first, in its own process, because the master has no time to
  wait.
- **A full disk drops lines, a stopped log writer does not:** then the pipes fill (1 MB each, where
  the kernel grants it), and after that the app waits, as with any stdout.
- **A worker's stdout is line-buffered when it goes to the log writer,** as on a terminal, because a
  person who follows a log wants to see a channel when it was printed.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from prefork.master.auxiliary import AuxiliaryProcess
from prefork.master.master_record import AuxiliaryRecord, OutputRecord
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
"""The longest pause in seconds of a log writer, after log writers died young."""

FINAL_WRITE_TIMEOUT = 2.0
"""Seconds that the log writer has for the last lines, at the end of the master."""


@dataclass(frozen=True, slots=True)
class OutputPipes:
    """The pipes for stdout (``out``) and stderr (``err``) of one worker."""

    out: Pipe
    err: Pipe

    def close(self) -> None:
        """Close both pipes, because the worker was not forked."""
        self.out.close()
        self.err.close()

    def take_write_ends(self, uid: int | None) -> None:
        """Keep the write ends only, in the worker, and give them to its user.

        The worker may open /dev/stdout as that user later.
        """
        for pipe in (self.out, self.err):
            os.close(pipe.reader)
            if uid is not None:
                os.fchown(pipe.writer, uid, -1)

    def redirect_streams(self, before: StandardDescriptors) -> list[int]:
        """Redirect stdout and stderr to the pipes, line by line, in the worker.

        Returns the standard descriptors that are left alone, because the app closed them and they
        became other files since ``before``.
        """
        flush_streams()
        pipes = {1: self.out.writer, 2: self.err.writer}
        left_alone = [fd for fd, writer in pipes.items() if not before.replace(fd, writer)]
        enable_line_buffering()
        for writer in pipes.values():
            os.close(writer)
        return left_alone


class LogWriterProcess:
    """The log writer and its successors, and the output pipes of all workers.

    ``directory`` and ``name``: of the output file. ``enter_child``: called first in the new
    process.
    """

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
        self._journal = WriteJournal()
        self._open_pipes: dict[WorkerStream, int] = {}
        self._last_number = 0
        self._pending_orders: dict[int, str] = {}
        self._process: AuxiliaryProcess[DescriptorChannel] = AuxiliaryProcess(
            "log writer", poller, MAX_PAUSE, self._read, self._on_death, self._on_failure
        )
        self._spawn()

    # The process.

    def _spawn(self) -> None:
        """Spawn a log writer. Raises MachineError."""
        ours, theirs = open_channel_pair()

        def main() -> int:
            self._enter_child()
            # In this process, because it holds the pipes, and writes the last lines if the master
            # ends meanwhile.
            self._process.sleep_pause()
            become_owner_of(self._directory)
            outputs = OutputFiles(self._directory, self._name, self._rotation, self._log.logger)
            return LogWriter(self._open_pipes, theirs, outputs, self._journal, self._log).run()

        self._process.spawn(ours, theirs, main)
        for number, what in self._pending_orders.items():
            ours.send(encode_message(what, number=number))

    def ensure_running(self) -> None:
        """Spawn a log writer if none runs and one is due."""
        self._process.ensure_running(self._spawn)

    def _on_death(self, why: str) -> None:
        self._log.logger.error("%s; no line is lost", why)
        self.ensure_running()

    def _on_failure(self, why: str) -> None:
        self._log.logger.error("cannot start the log writer: %s; trying again in a second", why)

    def _read(self, channel: DescriptorChannel) -> None:
        """Read messages. Raises EOFError at the end, ValueError for an invalid message."""
        for data, _ in channel.receive():
            if not data:
                raise EOFError
            kind, details = decode_message(data)
            if kind == "drained":
                self._close_drained(message_number(details))
            elif kind == "done":
                self._pending_orders.pop(message_number(details), None)
            else:
                raise unknown_message_error(kind)

    def _close_drained(self, number: int) -> None:
        """Close the read end of a pipe that is at its end."""
        for stream in [stream for stream in self._open_pipes if stream.number == number]:
            os.close(self._open_pipes.pop(stream))

    def _send(self, data: bytes, fd: int | None = None) -> None:
        """Send a message; kill a log writer that takes none, because its successor inherits all."""
        channel = self._process.channel
        if channel is not None and not channel.send(data, fd):
            self._process.kill()

    # Workers.

    def open(self) -> OutputPipes:
        """Open the pipes of the next worker. Raises MachineError."""
        out = open_output_pipe()
        try:
            return OutputPipes(out, open_output_pipe())
        except BaseException:
            out.close()
            raise

    def hand_over(self, output: OutputPipes, slot: int, pid: int) -> None:
        """Pass the pipes of a worker that was forked to the log writer."""
        for stream, pipe in (("out", output.out), ("err", output.err)):
            os.close(pipe.writer)
            self._last_number += 1
            worker_stream = WorkerStream(self._last_number, slot, pid, stream)
            self._open_pipes[worker_stream] = pipe.reader
            self._send(encode_message("outlet", **asdict(worker_stream)), pipe.reader)

    # Orders.

    def order(self, what: str) -> int:
        """Order the log writer to ``rotate``, ``flush`` or ``reopen``; return the order's
        number."""
        self._last_number += 1
        self._pending_orders[self._last_number] = what
        self._send(
            encode_message(what, number=self._last_number),
            self._reopen_directory() if what == "reopen" else None,
        )
        return self._last_number

    def _reopen_directory(self) -> int | None:
        """Open the directory anew, and return the master's own log for the log writer.

        The log writer may run as a user who cannot open that log. A later log writer inherits both.
        """
        with suppress(OSError):  # the log writer logs why
            self._directory.reopen()
        return self._log.file

    def has_done(self, number: int) -> bool:
        """Return whether this order was carried out."""
        return number not in self._pending_orders

    def set_rotation(self, rotation: RotationPolicy) -> None:
        """Rotate by these settings from now on."""
        self._rotation = rotation
        self._send(encode_message("settings", **asdict(rotation)))

    def records(self) -> list[AuxiliaryRecord]:
        """Return what the master holds of the log writer; empty: none runs."""
        extra = {"journal": self._journal.fileno(), "directory": self._directory.fd}
        return [
            replace(each, descriptors=each.descriptors | extra) for each in self._process.records()
        ]

    def outputs(self) -> list[OutputRecord]:
        """Return the streams of all workers, with the read ends of their pipes."""
        return [OutputRecord(stream, fd) for stream, fd in self._open_pipes.items()]

    def knows_pid(self, pid: int) -> bool:
        """Return whether ``pid`` is the log writer."""
        return self._process.knows_pid(pid)

    def close_copy(self) -> None:
        """Close the copies of all descriptors, in a child."""
        self._process.close_copy()
        for reader in self._open_pipes.values():
            os.close(reader)
        self._directory.close()
        self._journal.close_copy()

    def close(self) -> None:
        """Wait a moment for the last lines, when no worker is left.

        A grandchild may go on printing. Then the log writer goes on, too, and is not reaped.
        """
        if self._process:
            writer = self._process.detach()
            if writer.wait_for_exit(FINAL_WRITE_TIMEOUT):
                writer.reap()
