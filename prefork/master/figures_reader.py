"""Read the figures that programs report, once a second for all programs together.

Each program has a socket for its figures, apart from its notify socket.

Design
------
- **Reports do not wake the master one by one.** 200 workers that report once a second would make it
  go through its loop, which looks at all workers, 200 times: 63 % of a core. While reports come
  they wait in their sockets for a timer; read together they cost 2 %. While none come, the
  first one wakes the master by epoll, so that an idle master does not wake for a timer.
- **A queue of ten reports** (net.unix.max_dgram_qlen) is enough for ten senders of a worker. The
  reports of more fail with EAGAIN and are made good a second later, as all counts are cumulative.
- **The sender of a report is looked up in /proc once,** and then known by its pid, which the kernel
  tells (SCM_CREDENTIALS). Processes that ended are forgotten, so that a pid is not known for long.
- **A message that cannot be read is never the end of a worker:** it serves, and only its figures
  are wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from prefork.master.figures_writer import FiguresWriter
from prefork.unix.descriptor_disposal import run_in_child
from prefork.unix.notify import NotifyMessage, NotifySocket
from prefork.unix.poller import Poller
from prefork.wire.figures_message import decode_figures
from prefork.wire.notify import Notification, decode_notification

INTERVAL = 1.0
"""Seconds from one read of all sockets to the next while reports come."""

QUIET_READS = 3
"""Reads without a report after which the master waits for the next report by epoll."""


@dataclass(slots=True)
class FiguresSource:
    """The reports of one program.

    ``is_sender``: whether a message comes from a process of the program. ``complain``: called with
    a complaint for the log, each kind once.
    """

    socket: NotifySocket
    writer: FiguresWriter
    is_sender: Callable[[NotifyMessage], bool]
    complain: Callable[[str], None]

    def read(self) -> bool:
        """Read the reports that have come; return whether there were any."""
        has_reports = False
        for message in self.socket.read():
            has_reports = True
            if self.writer.knows_sender(message.pid) or self.is_sender(message):
                self.add(message.pid, decode_notification(message.data))
        return has_reports

    def resume(self) -> None:
        """Read on, after a child discarded a message with descriptors."""
        self.socket.is_paused = False

    def add(self, pid: int, said: Notification) -> None:
        """Add the figures in a notification of the process ``pid``, if it has any."""
        if (figures := decode_figures(said)) is not None and (
            complaint := self.writer.add(pid, figures, monotonic())
        ):
            self.complain(complaint)


class FiguresReader:
    """Reads the reports of all programs of one master."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._sources: dict[int, FiguresSource] = {}
        """By the serial number of the worker."""
        self._due_at: float | None = None
        """Monotonic time of the next read; None: the poller watches the sockets."""
        self._quiet_reads = 0

    def add(self, worker: int, source: FiguresSource) -> None:
        """Read the reports of this program from now on."""
        self._sources[worker] = source
        if self._due_at is None:
            self._poller.add_reader(source.socket.fileno(), self._on_report)

    def remove(self, worker: int) -> None:
        """Stop reading, and close the socket of a program that ended."""
        if (source := self._sources.pop(worker, None)) is not None:
            if self._due_at is None:
                self._poller.remove(source.socket.fileno())
            source.socket.hang_up(self._poller)

    def get(self, worker: int) -> FiguresSource | None:
        """Return the reports of a program; None: it is none."""
        return self._sources.get(worker)

    def next_deadline(self) -> float | None:
        """Return the monotonic time of the next read; None while no reports come."""
        return self._due_at

    def run_due(self, now: float) -> None:
        """Read all sockets if it is due."""
        if self._due_at is None or now < self._due_at:
            return
        self._quiet_reads = 0 if self.read_all() else self._quiet_reads + 1
        if self._quiet_reads < QUIET_READS:
            self._due_at = now + INTERVAL
        else:
            self._due_at = None
            for source in self._sources.values():
                self._poller.add_reader(source.socket.fileno(), self._on_report)

    def read_all(self) -> bool:
        """Read the reports that have come; return whether there were any."""
        found = [self._read(source) for source in self._sources.values()]
        return any(found)

    def _on_report(self) -> None:
        """Read all sockets by a timer, because the first report has come."""
        if self._due_at is None:  # else another socket of the same turn was readable before
            for source in self._sources.values():
                self._poller.remove(source.socket.fileno())
            self._due_at, self._quiet_reads = monotonic(), 0

    def _read(self, source: FiguresSource) -> bool:
        """Read the reports of one program; no exception that a message raises ends the master."""
        if source.socket.is_paused:
            return True  # a child is discarding a message with descriptors
        try:
            has_reports = source.read()
        except Exception as error:
            source.complain(f"{type(error).__name__}: {error}")
            return True
        if source.socket.is_paused:
            run_in_child(self._poller, source.socket.discard_next, source.resume)
        return has_reports

    def close_copy(self) -> None:
        """Close the copies of the sockets, in a child."""
        for source in self._sources.values():
            source.socket.close()
