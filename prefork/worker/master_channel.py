"""The worker's line to its master: words on the ready pipe, its title, its scoreboard row."""

import math
import time
from collections.abc import Callable

from prefork.unix.pipes import write_all
from prefork.unix.scoreboard import BEAT, DEADLINE, DUE, ENDS, SHARES, Row
from prefork.wire.ready import MessageKind, encode_message


class MasterChannel:
    """Held by the one worker that owns the pipe and the row."""

    def __init__(
        self,
        fd: int,
        row: Row,
        timeout: float | None,
        set_title: Callable[[str], None],
        on_ready: Callable[[], None],
    ) -> None:
        self._fd = fd
        self.row = row
        self._floats = row.floats
        self._timeout = timeout if timeout is not None else math.inf
        self._set_title = set_title
        self._on_ready = on_ready
        self.is_ready = False

    @property
    def is_service_ending(self) -> bool:
        """Whether the whole service ends; else somebody will take over, or has."""
        return bool(self.row.record[ENDS])

    def report_ready(self, shares: bool = False) -> None:
        """The worker accepts connections, also those that siblings share. Its deadline counts from
        its first beat on."""
        if not self.is_ready:
            self._on_ready()  # a failure there is told as one to start
            self.is_ready = True
            self.row.counts[SHARES] = shares
            self._set_title("ready")
            write_all(self._fd, encode_message(MessageKind.READY))

    @property
    def is_alone(self) -> bool:
        """No sibling goes on with what it would share."""
        return not self.row.rows.has_other_sharing_worker(self.row.number)

    def report_failed(self, reason: str, code: int) -> None:
        """It cannot serve; ``code`` tells who is at fault."""
        write_all(self._fd, encode_message(MessageKind.FAILED, reason, code))

    def report_draining(self) -> None:
        """It was signalled, accepts no more, and drains."""
        self.row.counts[SHARES] = 0
        self._set_title("draining")
        write_all(self._fd, encode_message(MessageKind.LEAVING))

    def report_waiting(self, what: str) -> None:
        """All is answered; only this keeps it."""
        self._set_title("waiting for its threads")
        write_all(self._fd, encode_message(MessageKind.LEAVING, what))

    def request_replacement(self, why: str) -> None:
        """It wants a replacement, and serves on."""
        write_all(self._fd, encode_message(MessageKind.WORN, why))

    def report_stacks_logged(self, what: str) -> None:
        """It was asked for its stacks, and they are in the log; in a thread of its own."""
        write_all(self._fd, encode_message(MessageKind.STUCK, what))

    def beat(self) -> None:
        """The loop, or the call that blocks it from now on, gets the whole timeout."""
        self._floats[BEAT] = now = time.monotonic()
        self._floats[DEADLINE] = now + self._timeout

    def beat_until(self, wait: float) -> None:
        """The same, and the next beat comes within ``wait`` seconds."""
        self.beat()
        self._floats[DUE] = self._floats[BEAT] + wait
        self._floats[DEADLINE] += wait

    def count_timeout_from(self, since: float) -> None:
        """The same, counted from ``since`` (monotonic)."""
        self._floats[DEADLINE] = since + self._timeout

    def schedule_next_beat(self, oldest: float, wait: float) -> None:
        """The next beat comes within ``wait`` seconds; ``oldest``: when the request began that
        has waited longest for its app (monotonic), which must not take longer than the timeout."""
        self._floats[DEADLINE] = oldest + wait + self._timeout
