"""All that a worker tells its master: messages on the ready pipe, its title, its scoreboard row."""

import math
import time
from collections.abc import Callable

from prefork.errors import PreforkError
from prefork.unix.pipes import write_all
from prefork.unix.scoreboard import BEAT, DEADLINE, DUE, ENDS, SHARES, Row
from prefork.wire.ready import MessageKind, encode_message
from prefork.worker.worker_context import WorkerContext


class MasterChannel:
    """The channel of the one worker that owns the pipe and the row.

    ``timeout``: seconds that a call of the app may block (``--timeout``); None: any time.
    ``on_ready``: called just before the worker reports that it is ready.
    """

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
        self.before_ready: Callable[[], None] | None = None
        """Called once, before the worker accepts connections; an error is a failed start."""
        self.is_ready = False
        self._has_told_deadline = False
        """The master was woken, or will be, after a deadline was written for the first time."""

    @property
    def is_service_ending(self) -> bool:
        """Return whether the whole service ends. Else other workers go on, or will follow this one.

        A worker cannot tell a reload from a stop, so the master writes this into the row before it
        signals. WebSockets are closed with 1012 (service restart) when another worker goes on, and
        with 1001 (going away) when none does (RFC 6455 section 7.4.1).
        """
        return bool(self.row.record[ENDS])

    def report_ready(self, shares: bool = False) -> None:
        """Report that the worker accepts connections; ``shares``: also those that siblings hand
        off. Its deadline counts from its first heartbeat on. Later calls do nothing."""
        if not self.is_ready:
            self.prepare_ready()
            self._on_ready()  # an error there is reported as a failed start
            self.is_ready = True
            self.row.counts[SHARES] = shares
            self._set_title("ready")
            self._has_told_deadline = self._floats[DEADLINE] > 0
            write_all(self._fd, encode_message(MessageKind.READY))

    def prepare_ready(self) -> None:
        """Call ``before_ready``, if it was not called yet."""
        call, self.before_ready = self.before_ready, None
        if call is not None:
            call()

    @property
    def is_alone(self) -> bool:
        """Return whether no sibling takes connections from the handoff queue."""
        return not self.row.rows.has_other_sharing_worker(self.row.number)

    def report_failed(self, reason: str, code: int) -> None:
        """Report that the worker cannot serve. ``code``: the exit code, which says what is at
        fault."""
        write_all(self._fd, encode_message(MessageKind.FAILED, reason, code))

    def report_draining(self) -> None:
        """Report that the worker was asked to stop, accepts no more, and drains."""
        self.row.counts[SHARES] = 0
        self._set_title("draining")
        write_all(self._fd, encode_message(MessageKind.LEAVING))

    def report_waiting(self, what: str) -> None:
        """Report that all requests are answered and the worker waits for ``what``."""
        self._set_title("waiting for its threads")
        write_all(self._fd, encode_message(MessageKind.LEAVING, what))

    def report_resigned(self) -> None:
        """Report that the worker, which was the leader, leads no more. Called in any thread."""
        write_all(self._fd, encode_message(MessageKind.RESIGNED))

    def request_replacement(self, why: str) -> None:
        """Ask for a replacement; the worker serves until the master stops it."""
        write_all(self._fd, encode_message(MessageKind.WORN, why))

    def report_stacks_logged(self, what: str) -> None:
        """Report that the stacks of all threads are in the log; ``what``: what the worker was
        doing. Called in the thread of the watchdog."""
        write_all(self._fd, encode_message(MessageKind.STUCK, what))

    def beat(self) -> None:
        """Publish a heartbeat: the loop, or a call that blocks it from now on, gets the whole
        timeout."""
        self._floats[BEAT] = now = time.monotonic()
        self._floats[DEADLINE] = now + self._timeout

    def beat_until(self, wait: float) -> None:
        """Publish a heartbeat. The next one comes within ``wait`` seconds, and the timeout counts
        from there.

        The master reads deadlines when something wakes it. It may have read the row of a ``main``
        that was ready, and had not accepted yet; then nothing else would wake it.
        """
        self.beat()
        self._floats[DUE] = self._floats[BEAT] + wait
        self._floats[DEADLINE] += wait
        if self.is_ready and not self._has_told_deadline:
            self._has_told_deadline = True
            write_all(self._fd, encode_message(MessageKind.BEATS))

    def end_timeout(self) -> None:
        """Set no deadline from now on: the worker has no requests any more, and shuts down."""
        self._timeout = math.inf
        self._floats[DEADLINE] = math.inf

    def count_timeout_from(self, since: float) -> None:
        """Set the deadline as if the last heartbeat had come at ``since`` (monotonic seconds)."""
        self._floats[DEADLINE] = since + self._timeout

    def schedule_next_beat(self, oldest: float, wait: float) -> None:
        """Set the deadline for the next heartbeat, which comes within ``wait`` seconds.

        ``oldest``: when the request began that has waited longest for its app (monotonic). Its call
        must not take longer than the timeout.
        """
        self._floats[DEADLINE] = oldest + wait + self._timeout


def make_channel(context: WorkerContext, ready_fd: int) -> MasterChannel:
    """Return the channel of a worker; ``ready_fd``: the write end of its ready pipe."""
    return MasterChannel(
        ready_fd, context.row, context.config.timeout, context.set_title, context.on_ready
    )


def report_error(context: WorkerContext, channel: MasterChannel, error: PreforkError) -> int:
    """Report a fatal error and return its exit code. Before the worker is ready the master logs the
    error, afterwards only the worker can."""
    if channel.is_ready:
        context.log.error("worker %d: %s", context.info.slot, error)
    else:
        channel.report_failed(str(error), error.exit_code)
    return error.exit_code
