"""The log writer: a process of the master's that reads what workers print, and writes the log.

It runs no app code and is not in the way of anybody: the master only forks it, hands it the pipes
and replaces it when it dies. A line stays in its worker's pipe until it is in the file
(write_journal.py). When the master is gone, it goes on until nobody can print any more.
"""

import logging
import os
import selectors
import time
from collections.abc import Mapping
from dataclasses import dataclass

from prefork.observe.log_records import FORMATS, whole_characters, whole_lines
from prefork.observe.log_rotation import RotationPolicy
from prefork.observe.logger import Log
from prefork.observe.master_log import MasterLog
from prefork.observe.output_file import cut
from prefork.observe.output_files import OutputFiles
from prefork.observe.write_journal import Batch, WriteJournal
from prefork.unix.descriptor_channel import DescriptorChannel
from prefork.unix.pipes import PipePeeker
from prefork.wire.log_writer_messages import WorkerStream, decode_message, encode_message

PATIENCE = 0.2
"""Seconds that a line without an end waits for its rest."""


@dataclass(slots=True)
class _Source:
    """The pipe of an outlet. ``seen``: bytes of an unfinished line at the last look."""

    outlet: WorkerStream
    fd: int
    seen: int = 0


class LogWriter:
    """One life of it. ``outlets`` with the read ends of their pipes are those known at its birth;
    more of them come over ``line``."""

    def __init__(
        self,
        outlets: Mapping[WorkerStream, int],
        line: DescriptorChannel,
        outputs: OutputFiles,
        ledger: WriteJournal,
        log: Log,
    ) -> None:
        self._line = line
        self._outputs = outputs
        self._ledger = ledger
        self._log = log
        self._own_log = MasterLog(log, outputs.directory)
        self._glance = PipePeeker()
        self._sources = {o.number: _Source(o, fd) for o, fd in outlets.items()}
        self._resting: dict[int, float] = {}
        self._orphaned = False
        self._selector = selectors.DefaultSelector()
        self._stamped = (0, "")

    @property
    def _logger(self) -> logging.Logger:
        return self._log.logger

    def run(self) -> int:
        """Until the master is gone and every outlet came to its end; the exit code."""
        self._recover()
        self._selector.register(self._line.fileno(), selectors.EVENT_READ)
        for source in self._sources.values():
            self._watch(source)
        while self._sources or not self._orphaned:
            for key, _ in self._selector.select(self._patience()):
                if key.data is None:
                    self._hear()
                else:
                    self._look(key.data)
            self._wake_resting()
            self._own_log.settle(self._outputs.rotation)
        return 0

    def _recover(self) -> None:
        """Finish what the writer before us was about to do."""
        batch = self._ledger.pending()
        where = (self._outputs.directory, self._outputs.name)
        if batch is not None and cut(*where, batch.inode, batch.before, batch.length):
            source = self._sources.get(batch.outlet)
            if source is not None:
                self._ledger.take(source.fd, batch)
        self._ledger.end()

    # Sources.

    def _watch(self, source: _Source) -> None:
        self._selector.register(source.fd, selectors.EVENT_READ, source)

    def _look(self, source: _Source) -> None:
        data = self._glance.peek(source.fd)
        if data is None:
            return
        if not data:
            self._forget(source)
            return
        taken, lines = whole_lines(data)
        if taken:
            source.seen = 0
            self._write(source, taken, lines)
        elif source.seen == len(data):
            # Its rest did not come: a prompt, or the last words of the dead.
            source.seen = 0
            ready = whole_characters(data)
            self._write(source, ready, [data[:ready]])
        else:
            source.seen = len(data)
            self._rest(source)

    def _rest(self, source: _Source) -> None:
        """Its pipe would go on saying that there is something to read."""
        self._selector.unregister(source.fd)
        self._resting[source.outlet.number] = time.monotonic() + PATIENCE

    def _patience(self) -> float | None:
        now = time.monotonic()
        own = self._own_log.patience()
        due = [max(0.0, due - now) for due in self._resting.values()]
        return min(due if own is None else [*due, own], default=None)

    def _wake_resting(self) -> None:
        now = time.monotonic()
        for number in [number for number, due in self._resting.items() if due <= now]:
            del self._resting[number]
            self._watch(self._sources[number])
            self._look(self._sources[number])

    def _forget(self, source: _Source) -> None:
        self._selector.unregister(source.fd)
        os.close(source.fd)
        del self._sources[source.outlet.number]
        self._line.send_blocking(encode_message("drained", number=source.outlet.number))

    # Writing.

    def _write(self, source: _Source, taken: int, lines: list[bytes]) -> None:
        output = self._outputs.of(source.outlet.slot)
        data = FORMATS[output.format](source.outlet, self._stamp(), lines)
        data = output.notice() + data
        output.make_room(len(data))
        inode, before = output.ends()
        batch = Batch(source.outlet.number, taken, inode, before, len(data))
        self._ledger.begin(batch)
        output.append(data, len(lines), before)
        self._ledger.take(source.fd, batch)
        self._ledger.end()

    def _stamp(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._stamped[0]:
            self._stamped = (second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second)))
        return f"{self._stamped[1]}.{int(now * 1000) % 1000:03d}"

    # The master.

    def _hear(self) -> None:
        for data, fd in self._line.receive():
            if not data:
                self._orphaned = True
                self._selector.unregister(self._line.fileno())
                return
            say, details = decode_message(data)
            if say == "outlet":
                assert fd is not None, "an outlet comes with its pipe"
                self._take_on(WorkerStream(**details), fd)
            elif say == "settings":
                self._outputs.set_rotation(RotationPolicy(**details))
            else:
                self._do(say, fd)
                self._line.send_blocking(encode_message("done", **details))

    def _take_on(self, outlet: WorkerStream, fd: int) -> None:
        source = self._sources[outlet.number] = _Source(outlet, fd)
        self._watch(source)

    def _do(self, what: str, fd: int | None) -> None:
        match what:
            case "rotate":
                self._outputs.rotate()
                self._own_log.rotate(self._outputs.rotation)
            case "flush":
                self._outputs.flush()
                self._own_log.empty()
            case "reopen":
                if fd is not None:
                    self._log.take(fd)  # we may not be allowed to open it ourselves
                self._outputs.reopen()
