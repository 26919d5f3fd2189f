"""The worker processes: spawned, signalled, read and reaped.

Each has a pidfd, a ready pipe on which it reports to the master, an order pipe on which the master
asks for its stacks or tells it that it leads, and a row of the scoreboard. All share the life pipe,
whose end of file tells a child that the master died.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prefork.errors import MachineError
from prefork.master.master_record import ChildRecord, Descriptors
from prefork.master.worker_trees import WorkerTrees
from prefork.unix.pipes import (
    open_life_pipe,
    open_order_pipe,
    open_ready_pipe,
    read_available,
    write_available,
)
from prefork.unix.poller import Poller
from prefork.unix.process import Child, ExitStatus, fork
from prefork.unix.scoreboard import DEADLINE, SHARES, STATE, WORKING, Row, Scoreboard
from prefork.wire.fields import WORKER_STATES
from prefork.wire.ready import InvalidMessage, ReadyDecoder, ReadyMessage
from prefork.wire.worker_orders import LEAD, REPORT_STACKS
from prefork.worker.monitor.stack_signal import DUMP_SIGNAL

READY_STATE = WORKER_STATES.index("ready")

MAX_FINAL_READS = 64
"""Reads of the ready pipe after its child died, because a grandchild may go on filling it."""


@dataclass(slots=True)
class WorkerProcess:
    """The process of one worker.

    ``worker``: its serial number in the pool. ``ready_fd``: the master's end of the ready pipe; -1
    after the child closed its end. ``order_fd``: the master's end of the order pipe.
    ``status_text``: a program's ``STATUS=`` message, for people. ``node``: what the Node shim in a
    program reported; empty: nothing.
    """

    worker: int
    child: Child
    ready_fd: int
    order_fd: int
    row: Row
    decoder: ReadyDecoder = field(default_factory=ReadyDecoder)
    status_text: str = ""
    node: str = ""

    def deadline(self) -> float:
        """Return the monotonic time by which its next heartbeat is due; 0: it wrote none yet."""
        return float(self.row.floats[DEADLINE])

    def record(self) -> ChildRecord:
        """Return what the master holds of this process."""
        roles = {
            "pidfd": self.child.pidfd,
            "ready_pipe": self.ready_fd,
            "orders": self.order_fd,
        }
        is_open = {role: fd for role, fd in roles.items() if fd >= 0}
        return ChildRecord(
            self.worker, self.child.pid, self.row.number, is_open, self.status_text, self.node
        )


def _ignore_end(_worker: int) -> None:
    """Do nothing: a worker of an app says itself what has become of it."""


class Children:
    """All worker processes by the serial number that the pool gave them.

    ``on_message``: called with each message on a ready pipe. ``on_death``: called after a process
    was reaped. ``on_ready_pipe_closed``: called when a process closed its ready pipe.
    ``life``: the life pipe. ``trees``: the processes of each worker.
    """

    def __init__(
        self,
        poller: Poller,
        scoreboard: Scoreboard,
        on_message: Callable[[int, ReadyMessage | InvalidMessage], None],
        on_death: Callable[[int, ExitStatus], None],
    ) -> None:
        self._poller = poller
        self._on_message = on_message
        self._on_death = on_death
        self.on_ready_pipe_closed: Callable[[int], None] = _ignore_end
        self._processes: dict[int, WorkerProcess] = {}
        self._scoreboard = scoreboard
        self.life = open_life_pipe()
        self.trees = WorkerTrees()

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(list(self._processes.values()))

    def get(self, worker: int) -> WorkerProcess | None:
        """Return the process of a worker; None after it was reaped."""
        return self._processes.get(worker)

    def has_stranded_connections(self) -> bool:
        """Return whether workers serve, but none takes connections from the handoff queue."""
        rows = [process.row for process in self]
        serves = any(row.record[STATE] == READY_STATE for row in rows)
        return serves and not any(row.counts[SHARES] for row in rows)

    def heartbeat_deadlines(self) -> dict[int, float]:
        """Return the heartbeat deadlines by serial number, without workers that wrote none yet."""
        deadlines = {process.worker: process.deadline() for process in self}
        return {worker: at for worker, at in deadlines.items() if 0.0 < at < float("inf")}

    def busy_workers(self) -> frozenset[int]:
        """Return the serial numbers of the workers whose app is in ``prefork.busy()``."""
        return frozenset(each.worker for each in self if each.row.counts[WORKING])

    def knows_pid(self, pid: int) -> bool:
        """Return whether ``pid`` is a worker process that was not reaped."""
        return any(process.child.pid == pid for process in self._processes.values())

    def spawn(self, worker: int, main: Callable[[int, int, Row], int]) -> int:
        """Fork a process that runs ``main`` and exits with its result; return its pid.

        ``main`` gets the child's end of the ready pipe, its end of the order pipe, and its row.
        Raises MachineError.
        """
        ready = open_ready_pipe()
        try:
            orders = open_order_pipe()
        except MachineError:
            ready.close()
            raise
        row = self._scoreboard.acquire_row(worker)

        def run() -> int:
            os.close(ready.reader)
            os.close(orders.writer)
            return main(ready.writer, orders.reader, row)

        try:
            child = fork(run)
        except BaseException:
            ready.close()
            orders.close()
            self._scoreboard.release_row(row)
            raise
        os.close(ready.writer)
        os.close(orders.reader)
        process = WorkerProcess(worker, child, ready.reader, orders.writer, row)
        self._processes[worker] = process
        self._watch(process)
        return child.pid

    def _watch(self, process: WorkerProcess) -> None:
        """Have the poller report the messages of a process, and its death."""

        def read() -> None:
            self._read_once(process)

        def reap() -> None:
            self._reap(process)

        self._poller.add_reader(process.ready_fd, read)
        self._poller.add_reader(process.child.pidfd, reap)

    def send_signal(self, worker: int, signum: int) -> None:
        """Send a signal to the process of a worker, unless it was reaped."""
        if (process := self._processes.get(worker)) is not None:
            process.child.send_signal(signum)

    def send_signal_to_all(self, workers: Iterable[int], signum: int) -> None:
        """Send a signal to the processes of several workers."""
        for worker in workers:
            self.send_signal(worker, signum)

    def request_stacks(self, worker: int, by_force: bool) -> None:
        """Ask a worker to log its requests and stacks, unless it was reaped.

        ``by_force``: by a signal on which its faulthandler dumps the stacks, in C.
        """
        if by_force:
            self.send_signal(worker, DUMP_SIGNAL)
        else:
            self._send_order(worker, REPORT_STACKS)

    def tell_leader(self, worker: int) -> None:
        """Tell a worker that it leads, unless it was reaped. The scoreboard says so already."""
        self._send_order(worker, LEAD)

    def _send_order(self, worker: int, order: bytes) -> None:
        if (process := self._processes.get(worker)) is not None:
            write_available(process.order_fd, order)

    def mark_ending(self, worker: int) -> None:
        """Note in the row of a worker that no other worker takes over from it.

        The master does so before it signals, because the worker cannot tell a reload from a stop:
        it closes WebSockets with 1012 in the first case and with 1001 in the second.
        """
        if (process := self._processes.get(worker)) is not None:
            self._scoreboard.set_row_fields(process.row, ends=1)

    def records(self) -> list[ChildRecord]:
        """Return pid, row and descriptors of each process."""
        return [each.record() for each in self]

    def descriptors(self) -> Descriptors:
        """Return the descriptors that all workers share, by role."""
        return {
            "life_reader": self.life.reader,
            "life_writer": self.life.writer,
            **self._scoreboard.descriptors(),
        }

    def close_copy(self) -> None:
        """Close what belongs to the master and to other workers, in a child.

        A write end of the life pipe that stayed open there would hide the master's death.
        """
        os.close(self.life.writer)
        self._scoreboard.close_copy()
        for process in self._processes.values():
            os.close(process.child.pidfd)
            os.close(process.order_fd)
            if process.ready_fd >= 0:
                os.close(process.ready_fd)

    def _read_once(self, process: WorkerProcess) -> bool:
        """Read the ready pipe once, and return whether there may be more to read.

        One read per turn of the loop, so that no child can keep the master busy. An exception that
        the message of a child raises counts as an invalid message and must not end the master.
        """
        try:
            return self._read_ready_pipe(process)
        except Exception as error:
            self._close_ready_pipe(process)
            self._on_message(process.worker, InvalidMessage(f"{type(error).__name__}: {error}"))
            return False

    def _read_ready_pipe(self, process: WorkerProcess) -> bool:
        data = read_available(process.ready_fd) if process.ready_fd >= 0 else None
        if data is None:
            return False
        if not data:
            self._close_ready_pipe(process)
            self.on_ready_pipe_closed(process.worker)
            return False
        for message in process.decoder.feed(data):
            self._on_message(process.worker, message)
            if isinstance(message, InvalidMessage):
                self._close_ready_pipe(process)
        return process.ready_fd >= 0

    def _close_ready_pipe(self, process: WorkerProcess) -> None:
        if process.ready_fd < 0:
            return
        self._poller.remove(process.ready_fd)
        os.close(process.ready_fd)
        process.ready_fd = -1

    def _reap(self, process: WorkerProcess) -> None:
        """Read its last messages, reap it, and report its death."""
        for _ in range(MAX_FINAL_READS):
            if not self._read_once(process):
                break
        self._poller.remove(process.child.pidfd)
        death = process.child.reap()
        self._close_ready_pipe(process)  # in case a grandchild holds the other end
        os.close(process.order_fd)
        del self._processes[process.worker]
        self.trees.forget(process.child.pid)
        self._scoreboard.release_row(process.row)
        self._on_death(process.worker, death)
