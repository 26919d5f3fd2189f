"""The fork, and the children: each with its pidfd, its ready pipe and its scoreboard row."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prefork.errors import MachineError
from prefork.unix.pipes import (
    open_life_pipe,
    open_ready_pipe,
    open_stack_request_pipe,
    read_available,
    write_available,
)
from prefork.unix.poller import Poller
from prefork.unix.process import Child, ExitStatus, fork
from prefork.unix.scoreboard import DEADLINE, SHARES, STATE, WORKING, Row, Scoreboard
from prefork.wire.ready import InvalidMessage, ReadyDecoder, ReadyMessage
from prefork.wire.scoreboard import WORKER_STATES
from prefork.worker.monitor.stack_signal import DUMP_SIGNAL

READY_STATE = WORKER_STATES.index("ready")

MAX_FINAL_READS = 64
"""Reads of a dead child's pipe, which a grandchild may go on filling."""


@dataclass(slots=True)
class WorkerProcess:
    """One child of ours. ``ready_fd`` is -1 once the child closed its end."""

    worker: int
    child: Child
    ready_fd: int
    stack_request_fd: int
    row: Row
    decoder: ReadyDecoder = field(default_factory=ReadyDecoder)
    status_text: str = ""
    """What a program tells about itself, for people."""

    def deadline(self) -> float:
        """As the worker wrote it; 0: not yet."""
        return float(self.row.floats[DEADLINE])


class Children:
    """All children, by the pool's number. ``on_word`` and ``on_death`` are told what they do;
    ``on_silence`` that one closed its ready pipe."""

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
        self.on_ready_pipe_closed: Callable[[int], None] = lambda _worker: None
        self._processes: dict[int, WorkerProcess] = {}
        self._scoreboard = scoreboard
        self.life = open_life_pipe()

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(list(self._processes.values()))

    def get(self, worker: int) -> WorkerProcess | None:
        """None once it was reaped."""
        return self._processes.get(worker)

    def has_stranded_connections(self) -> bool:
        """Workers serve, and none of them goes on with connections that others shared."""
        rows = [process.row for process in self]
        serves = any(row.record[STATE] == READY_STATE for row in rows)
        return serves and not any(row.counts[SHARES] for row in rows)

    def heartbeat_deadlines(self) -> dict[int, float]:
        """Of those that wrote one down, by the pool's number."""
        deadlines = {process.worker: process.deadline() for process in self}
        return {worker: at for worker, at in deadlines.items() if 0.0 < at < float("inf")}

    def busy_workers(self) -> frozenset[int]:
        """Those whose app does work that it has marked, by the pool's number."""
        return frozenset(each.worker for each in self if each.row.counts[WORKING])

    def knows_pid(self, pid: int) -> bool:
        """Whether it is a child of ours that was not reaped."""
        return any(process.child.pid == pid for process in self._processes.values())

    def spawn(self, worker: int, main: Callable[[int, int, Row], int]) -> int:
        """Fork a child that runs ``life(ready_fd, stack_request_fd, row)``; its pid. Raises MachineError."""
        pipe = open_ready_pipe()
        try:
            ask = open_stack_request_pipe()
        except MachineError:
            pipe.close()
            raise
        row = self._scoreboard.acquire_row(worker)

        def begin() -> int:
            os.close(pipe.reader)
            os.close(ask.writer)
            return main(pipe.writer, ask.reader, row)

        try:
            child = fork(begin)
        except BaseException:
            pipe.close()
            ask.close()
            self._scoreboard.release_row(row)
            raise
        os.close(pipe.writer)
        os.close(ask.reader)
        process = WorkerProcess(worker, child, pipe.reader, ask.writer, row)
        self._processes[worker] = process
        self._poller.add_reader(pipe.reader, lambda: self._read_once(process))
        self._poller.add_reader(child.pidfd, lambda: self._reap(process))
        return child.pid

    def send(self, worker: int, signum: int) -> None:
        """Signal it; one that is gone hears nothing."""
        if (process := self._processes.get(worker)) is not None:
            process.child.send_signal(signum)

    def send_all(self, workers: Iterable[int], signum: int) -> None:
        """Signal several."""
        for worker in workers:
            self.send(worker, signum)

    def request_stacks(self, worker: int, by_force: bool) -> None:
        """Have it tell what it is at; by force without its interpreter. A worker that is gone hears
        nothing."""
        if by_force:
            self.send(worker, DUMP_SIGNAL)
        elif (process := self._processes.get(worker)) is not None:
            write_available(process.stack_request_fd, b"?")

    def mark_ending(self, worker: int) -> None:
        """Before it is asked to leave: nobody takes over from it."""
        if (process := self._processes.get(worker)) is not None:
            self._scoreboard.set_row_fields(process.row, ends=1)

    def close_copy(self) -> None:
        """In a child: close what belongs to the master and to the siblings.

        A write end of the life pipe that stayed open here would hide the master's death.
        """
        os.close(self.life.writer)
        self._scoreboard.close_copy()
        for process in self._processes.values():
            os.close(process.child.pidfd)
            os.close(process.stack_request_fd)
            if process.ready_fd >= 0:
                os.close(process.ready_fd)

    def _read_once(self, process: WorkerProcess) -> bool:
        """One read, so that no child can hold the master up; whether there may be more.

        Whatever the child makes us raise counts as nonsense of its, and must not end the master.
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
        for word in process.decoder.feed(data):
            self._on_message(process.worker, word)
            if isinstance(word, InvalidMessage):
                self._close_ready_pipe(process)
        return process.ready_fd >= 0

    def _close_ready_pipe(self, process: WorkerProcess) -> None:
        if process.ready_fd < 0:
            return
        self._poller.remove(process.ready_fd)
        os.close(process.ready_fd)
        process.ready_fd = -1

    def _reap(self, process: WorkerProcess) -> None:
        """Its last words first, then its death."""
        for _ in range(MAX_FINAL_READS):
            if not self._read_once(process):
                break
        self._poller.remove(process.child.pidfd)
        death = process.child.reap()
        self._close_ready_pipe(process)  # if a grandchild holds the other end
        os.close(process.stack_request_fd)
        del self._processes[process.worker]
        self._scoreboard.release_row(process.row)
        self._on_death(process.worker, death)
