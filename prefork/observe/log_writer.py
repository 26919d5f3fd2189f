"""The log writer: a child process of the master that writes the output of the workers to files.

It runs no app code. The master forks it, passes it the pipes of the workers, and replaces it when
it dies. A line stays in its worker's pipe until it is in the file (write_journal.py). When the
master has ended, the log writer continues until every pipe is closed.

Design
------
- **A follower of a log may repeat or miss a line when a log writer is killed:** the next log writer
  truncates the batch that was not yet recorded as written, and writes it again, perhaps with the
  streams in another order. The files contain each line once.
"""

import logging
import os
import selectors
import time
from collections.abc import Mapping
from dataclasses import dataclass

from prefork.observe.log_records import FORMATTERS, count_whole_characters, split_lines
from prefork.observe.log_rotation import RotationPolicy
from prefork.observe.logger import Log
from prefork.observe.master_log import MasterLog
from prefork.observe.output_file import undo_partial_write
from prefork.observe.output_files import OutputFiles
from prefork.observe.write_journal import Batch, WriteJournal
from prefork.unix.descriptor_channel import DescriptorChannel
from prefork.unix.pipes import PipePeeker
from prefork.wire.log_writer_messages import WorkerStream, decode_message, encode_message

PARTIAL_LINE_TIMEOUT = 0.2
"""Seconds for which an unfinished line waits for its end before it is written."""


@dataclass(slots=True)
class _Source:
    """The pipe ``fd`` of an outlet. ``seen``: bytes of an unfinished line at the last reading."""

    outlet: WorkerStream
    fd: int
    seen: int = 0


class LogWriter:
    """The log writer of one process.

    ``outlets`` maps the outlets that exist at its fork to the read ends of their pipes; more come
    over the channel from the master. ``outputs`` are the files, and ``log`` is the master's log.
    """

    def __init__(
        self,
        outlets: Mapping[WorkerStream, int],
        channel: DescriptorChannel,
        outputs: OutputFiles,
        journal: WriteJournal,
        log: Log,
    ) -> None:
        self._channel = channel
        self._outputs = outputs
        self._journal = journal
        self._log = log
        self._master_log = MasterLog(log, outputs.directory)
        self._peeker = PipePeeker()
        self._sources = {o.number: _Source(o, fd) for o, fd in outlets.items()}
        self._paused: dict[int, float] = {}
        self._master_ended = False
        self._selector = selectors.DefaultSelector()
        self._stamped = (0, "")

    @property
    def _logger(self) -> logging.Logger:
        return self._log.logger

    def run(self) -> int:
        """Write until the master has ended and every pipe is closed; returns the exit code."""
        self._recover()
        self._selector.register(self._channel.fileno(), selectors.EVENT_READ)
        for source in self._sources.values():
            self._register(source)
        while self._sources or not self._master_ended:
            for key, _ in self._selector.select(self._timeout()):
                if key.data is None:
                    self._read_channel()
                else:
                    self._read_source(key.data)
            self._resume_paused()
            self._master_log.rotate_if_due(self._outputs.rotation)
        return 0

    def _recover(self) -> None:
        """Finish the batch that the previous log writer was moving."""
        batch = self._journal.pending()
        location = (self._outputs.directory, self._outputs.name)
        if batch is not None and undo_partial_write(
            *location, batch.inode, batch.offset, batch.length
        ):
            source = self._sources.get(batch.outlet)
            if source is not None:
                self._journal.consume(source.fd, batch)
        self._journal.clear()

    # Pipes of workers.

    def _register(self, source: _Source) -> None:
        self._selector.register(source.fd, selectors.EVENT_READ, source)

    def _read_source(self, source: _Source) -> None:
        """Write the lines that are in a pipe; close it at its end."""
        data = self._peeker.peek(source.fd)
        if data is None:
            return
        if not data:
            self._close_source(source)
            return
        taken, lines = split_lines(data)
        if taken:
            source.seen = 0
            self._write(source, taken, lines)
        elif source.seen == len(data):
            # The end of the line did not come: it is a prompt, or the worker has died.
            source.seen = 0
            ready = count_whole_characters(data)
            self._write(source, ready, [data[:ready]])
        else:
            source.seen = len(data)
            self._pause(source)

    def _pause(self, source: _Source) -> None:
        """Ignore a pipe for a moment, because it stays readable with its unfinished line."""
        self._selector.unregister(source.fd)
        self._paused[source.outlet.number] = time.monotonic() + PARTIAL_LINE_TIMEOUT

    def _timeout(self) -> float | None:
        """Return the seconds until a paused pipe or the master log is due; None: nothing is due."""
        now = time.monotonic()
        master_log_due = self._master_log.seconds_to_check()
        due = [max(0.0, due - now) for due in self._paused.values()]
        return min(due if master_log_due is None else [*due, master_log_due], default=None)

    def _resume_paused(self) -> None:
        now = time.monotonic()
        for number in [number for number, due in self._paused.items() if due <= now]:
            del self._paused[number]
            self._register(self._sources[number])
            self._read_source(self._sources[number])

    def _close_source(self, source: _Source) -> None:
        """Close a pipe that came to its end, and tell the master."""
        self._selector.unregister(source.fd)
        os.close(source.fd)
        del self._sources[source.outlet.number]
        self._channel.send_blocking(encode_message("drained", number=source.outlet.number))

    # Files.

    def _write(self, source: _Source, taken: int, lines: list[bytes]) -> None:
        """Move ``taken`` bytes of a pipe, which are ``lines``, to the file of the slot."""
        output = self._outputs.for_slot(source.outlet.slot)
        data = FORMATTERS[output.format](source.outlet, self._stamp(), lines)
        data = output.missing_lines_note() + data
        output.prepare(len(data))
        inode, offset = output.inode_and_size()
        # Each step is repeatable by the next log writer, if this one dies in between.
        batch = Batch(source.outlet.number, taken, inode, offset, len(data))
        self._journal.begin(batch)
        output.append(data, len(lines), offset)
        self._journal.consume(source.fd, batch)
        self._journal.clear()

    def _stamp(self) -> str:
        """Return the current local time as in 2026-11-24 23:59:01.123."""
        now = time.time()
        second = int(now)
        if second != self._stamped[0]:
            self._stamped = (second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second)))
        return f"{self._stamped[1]}.{int(now * 1000) % 1000:03d}"

    # The master.

    def _read_channel(self) -> None:
        for data, fd in self._channel.receive():
            if not data:
                self._master_ended = True
                self._selector.unregister(self._channel.fileno())
                return
            kind, details = decode_message(data)
            if kind == "outlet":
                assert fd is not None, "an outlet comes with its pipe"
                self._add_outlet(WorkerStream(**details), fd)
            elif kind == "settings":
                self._outputs.set_rotation(RotationPolicy(**details))
            else:
                self._execute(kind, fd)
                self._channel.send_blocking(encode_message("done", **details))

    def _add_outlet(self, outlet: WorkerStream, fd: int) -> None:
        source = self._sources[outlet.number] = _Source(outlet, fd)
        self._register(source)

    def _execute(self, command: str, fd: int | None) -> None:
        match command:
            case "rotate":
                self._outputs.rotate()
                self._master_log.rotate(self._outputs.rotation)
            case "flush":
                self._outputs.flush()
                self._master_log.remove_rotated()
            case "reopen":
                if fd is not None:
                    # The master opened its log, because the log writer may have no right to.
                    self._log.adopt(fd)
                self._outputs.reopen()
