"""Workers' output: the master opens the pipes, hands them to the log writer, and replaces it.

The master never reads what is in them and never waits for the writer. It keeps the read ends until
the writer says that they came to their end, so that a writer may die at any time.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from prefork.errors import MachineError
from prefork.observe.ledger import Ledger
from prefork.observe.log import Log
from prefork.observe.outputs import Outputs
from prefork.observe.rotation import Rotation
from prefork.observe.writer import Writer, ignore_masters_signals
from prefork.unix.handover import open_line
from prefork.unix.pipes import Pipe, open_output_pipe
from prefork.unix.process import Child, fork
from prefork.unix.waiting import Waiter
from prefork.wire.outlets import Outlet, message, read

SOON = 1.0
"""Seconds; a writer that dies younger has its successor wait."""

LONGEST_WAIT = 5.0
"""Seconds that a successor waits at most."""

LAST_LINES = 2.0
"""Seconds that the writer has, at the end, to write what is left."""


@dataclass(frozen=True, slots=True)
class Mouth:
    """Both pipes of a worker that is about to be forked."""

    out: Pipe
    err: Pipe

    def close(self) -> None:
        """It was not forked."""
        self.out.close()
        self.err.close()

    def take(self, uid: int | None) -> None:
        """In the worker, while it is still who it was: later it may open /dev/stdout."""
        for pipe in (self.out, self.err):
            os.close(pipe.reader)
            if uid is not None:
                os.fchown(pipe.writer, uid, -1)

    def use(self) -> None:
        """In the worker: what it prints goes there from now on, line by line."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(self.out.writer, 1)
        os.dup2(self.err.writer, 2)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        for fd in (self.out.writer, self.err.writer):
            os.close(fd)


class Outlets:
    """All outlets of a master. ``begin``: what the writer does first in its process."""

    def __init__(
        self,
        path: Path,
        rotation: Rotation,
        log: Log,
        waiter: Waiter,
        begin: Callable[[], None],
    ) -> None:
        self.path = path
        self._rotation = rotation
        self._log = log
        self._waiter = waiter
        self._begin = begin
        self._ledger = Ledger()
        self._outlets: dict[Outlet, int] = {}
        self._numbers = 0
        self._asked: dict[int, str] = {}
        self._born = 0.0
        """When the last one was; while there is none, when the next may be."""
        self._wait = 0.0
        self._child: Child | None = None
        """None: there could be none, and it is tried again."""
        self._give_birth()

    # The writer.

    def _give_birth(self) -> None:
        """Raises MachineError."""
        self._line, its_end = open_line()

        def live() -> int:
            self._line.close()
            ignore_masters_signals()
            self._begin()
            time.sleep(self._wait)
            outputs = Outputs(self.path, self._rotation, self._log.logger)
            return Writer(self._outlets, its_end, outputs, self._ledger, self._log).run()

        try:
            self._child = fork(live)
        except BaseException:
            self._line.close()
            raise
        finally:
            its_end.close()
        self._born = time.monotonic()
        self._waiter.watch(self._line.fileno(), self._hear)
        self._waiter.watch(self._child.pidfd, self._bury)

    def _bury(self) -> None:
        assert self._child is not None, "its pidfd is watched"
        self._hear()
        self._forget_writer(self._child)
        death = self._child.reap()
        self._child = None
        cause = death.signal or f"exit code {death.code}"
        young = time.monotonic() - self._born < SOON
        self._wait = min(LONGEST_WAIT, max(0.1, self._wait * 2)) if young else 0.0
        self._log.logger.error("the log writer died (%s); no line is lost", cause)
        self.settle()

    def settle(self) -> None:
        """Have a writer again. What the machine does not allow now is tried again soon."""
        if self._child is not None or time.monotonic() < self._born:
            return
        try:
            self._give_birth()
        except MachineError as error:
            self._log.logger.error("there is no log writer: %s", error)
            self._born = time.monotonic() + SOON
            return
        for number, what in self._asked.items():
            self._line.send(message(what, number=number))

    def _forget_writer(self, child: Child) -> None:
        self._waiter.forget(self._line.fileno())
        self._waiter.forget(child.pidfd)
        self._line.close()

    def _hear(self) -> None:
        for data, _ in self._line.receive() if self._child is not None else ():
            if not data:
                return
            say, details = read(data)
            if say == "drained":
                self._close_drained(details["number"])
            else:
                self._asked.pop(details["number"], None)

    def _close_drained(self, number: int) -> None:
        for outlet in [outlet for outlet in self._outlets if outlet.number == number]:
            os.close(self._outlets.pop(outlet))

    def _say(self, data: bytes, fd: int | None = None) -> None:
        if self._child is not None and not self._line.send(data, fd):
            # It takes no post any more. Its successor inherits all that there is.
            self._child.send(signal.SIGKILL)

    # Workers.

    def open(self) -> Mouth:
        """For the next worker. Raises MachineError."""
        out = open_output_pipe()
        try:
            return Mouth(out, open_output_pipe())
        except BaseException:
            out.close()
            raise

    def hand_over(self, mouth: Mouth, slot: int, pid: int) -> None:
        """The worker lives: the writer gets its pipes."""
        for stream, pipe in (("out", mouth.out), ("err", mouth.err)):
            os.close(pipe.writer)
            self._numbers += 1
            outlet = Outlet(self._numbers, slot, pid, stream)
            self._outlets[outlet] = pipe.reader
            self._say(message("outlet", **asdict(outlet)), pipe.reader)

    # What is asked.

    def ask(self, what: str) -> int:
        """Have the writer ``rotate``, ``flush`` or ``reopen``; the number of the wish."""
        self._numbers += 1
        self._asked[self._numbers] = what
        self._say(message(what, number=self._numbers))
        return self._numbers

    def has_done(self, number: int) -> bool:
        """Whether the wish is fulfilled."""
        return number not in self._asked

    def set_rotation(self, rotation: Rotation) -> None:
        """From now on."""
        self._rotation = rotation
        self._say(message("settings", **asdict(rotation)))

    def knows_pid(self, pid: int) -> bool:
        """Whether it is the writer's."""
        return self._child is not None and pid == self._child.pid

    def close_copy(self) -> None:
        """In a child."""
        if self._child is not None:
            self._line.close()
            os.close(self._child.pidfd)
        for reader in self._outlets.values():
            os.close(reader)
        self._ledger.close_copy()

    def close(self) -> None:
        """No worker is left. Wait a moment for the last lines; a grandchild may go on printing, and
        then the writer stays with it."""
        if self._child is None:
            return
        self._forget_writer(self._child)
        end = select.poll()
        end.register(self._child.pidfd, select.POLLIN)
        if end.poll(LAST_LINES * 1000):
            self._child.reap()
