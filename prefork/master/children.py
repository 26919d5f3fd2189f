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

READY = WORKER_STATES.index("ready")

MOST_LAST_WORDS = 64
"""Reads of a dead child's pipe, which a grandchild may go on filling."""


@dataclass(slots=True)
class WorkerProcess:
    """One child of ours. ``ready_fd`` is -1 once the child closed its end."""

    worker: int
    child: Child
    ready_fd: int
    ask_fd: int
    row: Row
    decoder: ReadyDecoder = field(default_factory=ReadyDecoder)
    says: str = ""
    """What a program tells about itself, for people."""

    def deadline(self) -> float:
        """As the worker wrote it; 0: not yet."""
        return float(self.row.floats[DEADLINE])


class Children:
    """All children, by the pool's number. ``on_word`` and ``on_death`` are told what they do;
    ``on_silence`` that one closed its ready pipe."""

    def __init__(
        self,
        waiter: Poller,
        scoreboard: Scoreboard,
        on_word: Callable[[int, ReadyMessage | InvalidMessage], None],
        on_death: Callable[[int, ExitStatus], None],
    ) -> None:
        self._waiter = waiter
        self._on_word = on_word
        self._on_death = on_death
        self.on_silence: Callable[[int], None] = lambda _worker: None
        self._children: dict[int, WorkerProcess] = {}
        self._scoreboard = scoreboard
        self.life = open_life_pipe()

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(list(self._children.values()))

    def get(self, worker: int) -> WorkerProcess | None:
        """None once it was reaped."""
        return self._children.get(worker)

    def strands(self) -> bool:
        """Workers serve, and none of them goes on with connections that others shared."""
        rows = [nursling.row for nursling in self]
        serves = any(row.record[STATE] == READY for row in rows)
        return serves and not any(row.counts[SHARES] for row in rows)

    def deadlines(self) -> dict[int, float]:
        """Of those that wrote one down, by the pool's number."""
        deadlines = {nursling.worker: nursling.deadline() for nursling in self}
        return {worker: at for worker, at in deadlines.items() if 0.0 < at < float("inf")}

    def busy(self) -> frozenset[int]:
        """Those whose app does work that it has marked, by the pool's number."""
        return frozenset(each.worker for each in self if each.row.counts[WORKING])

    def knows_pid(self, pid: int) -> bool:
        """Whether it is a child of ours that was not reaped."""
        return any(nursling.child.pid == pid for nursling in self._children.values())

    def bear(self, worker: int, life: Callable[[int, int, Row], int]) -> int:
        """Fork a child that runs ``life(ready_fd, ask_fd, row)``; its pid. Raises MachineError."""
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
            return life(pipe.writer, ask.reader, row)

        try:
            child = fork(begin)
        except BaseException:
            pipe.close()
            ask.close()
            self._scoreboard.release_row(row)
            raise
        os.close(pipe.writer)
        os.close(ask.reader)
        nursling = WorkerProcess(worker, child, pipe.reader, ask.writer, row)
        self._children[worker] = nursling
        self._waiter.add_reader(pipe.reader, lambda: self._hear(nursling))
        self._waiter.add_reader(child.pidfd, lambda: self._bury(nursling))
        return child.pid

    def send(self, worker: int, signum: int) -> None:
        """Signal it; one that is gone hears nothing."""
        if (nursling := self._children.get(worker)) is not None:
            nursling.child.send_signal(signum)

    def send_all(self, workers: Iterable[int], signum: int) -> None:
        """Signal several."""
        for worker in workers:
            self.send(worker, signum)

    def dump(self, worker: int, by_force: bool) -> None:
        """Have it tell what it is at; by force without its interpreter. A worker that is gone hears
        nothing."""
        if by_force:
            self.send(worker, DUMP_SIGNAL)
        elif (nursling := self._children.get(worker)) is not None:
            write_available(nursling.ask_fd, b"?")

    def tell_end(self, worker: int) -> None:
        """Before it is asked to leave: nobody takes over from it."""
        if (nursling := self._children.get(worker)) is not None:
            self._scoreboard.set_row_fields(nursling.row, ends=1)

    def leave_behind(self) -> None:
        """In a child: close what belongs to the master and to the siblings.

        A write end of the life pipe that stayed open here would hide the master's death.
        """
        os.close(self.life.writer)
        self._scoreboard.close_copy()
        for nursling in self._children.values():
            os.close(nursling.child.pidfd)
            os.close(nursling.ask_fd)
            if nursling.ready_fd >= 0:
                os.close(nursling.ready_fd)

    def _hear(self, nursling: WorkerProcess) -> bool:
        """One read, so that no child can hold the master up; whether there may be more.

        Whatever the child makes us raise counts as nonsense of its, and must not end the master.
        """
        try:
            return self._read(nursling)
        except Exception as error:
            self._hang_up(nursling)
            self._on_word(nursling.worker, InvalidMessage(f"{type(error).__name__}: {error}"))
            return False

    def _read(self, nursling: WorkerProcess) -> bool:
        data = read_available(nursling.ready_fd) if nursling.ready_fd >= 0 else None
        if data is None:
            return False
        if not data:
            self._hang_up(nursling)
            self.on_silence(nursling.worker)
            return False
        for word in nursling.decoder.feed(data):
            self._on_word(nursling.worker, word)
            if isinstance(word, InvalidMessage):
                self._hang_up(nursling)
        return nursling.ready_fd >= 0

    def _hang_up(self, nursling: WorkerProcess) -> None:
        if nursling.ready_fd < 0:
            return
        self._waiter.remove(nursling.ready_fd)
        os.close(nursling.ready_fd)
        nursling.ready_fd = -1

    def _bury(self, nursling: WorkerProcess) -> None:
        """Its last words first, then its death."""
        for _ in range(MOST_LAST_WORDS):
            if not self._hear(nursling):
                break
        self._waiter.remove(nursling.child.pidfd)
        death = nursling.child.reap()
        self._hang_up(nursling)  # if a grandchild holds the other end
        os.close(nursling.ask_fd)
        del self._children[nursling.worker]
        self._scoreboard.release_row(nursling.row)
        self._on_death(nursling.worker, death)
