"""A program's stderr on its way to a log, and its last lines, which tell why it did not start.

With --log-dir it goes on to the log writer, as stdout does, and is only taken when it fits there:
what a stopped writer does not read waits in the program's own pipe. Otherwise it goes to our log,
and waits there, too, while nothing reads the log.
"""

import os
from collections.abc import Callable
from time import monotonic

from prefork.observe.logger import Log
from prefork.unix.pipes import Pipe, forward_pipe, has_data, read_available
from prefork.unix.poller import Poller

_TAIL_BYTES = 4096
_RETRY_INTERVAL = 0.05
_TAIL_LINES = 12
_MAX_FINAL_READS = 64
"""After its death, because a grandchild may go on writing."""


class StderrRelay:
    """Passes on what comes, one read at a time, until it is closed or nobody can write any more.
    ``outlet``: a pipe to the log writer, which is ours to close; None: there is none.
    ``on_failure`` is told once why nothing is passed on any more."""

    def __init__(
        self,
        pipe: Pipe,
        poller: Poller,
        log: Log,
        outlet: int | None,
        on_failure: Callable[[str], None],
    ) -> None:
        self.fd = pipe.reader
        self.sink = log.fd if outlet is None else outlet
        self._log = log.line_writer
        self._outlet = outlet
        self._on_failure = on_failure
        self._poller = poller
        self._tail = b""
        self._has_ended = False
        self._has_died = False
        """It wrote its last words: they are read also while the log has no room for them."""
        self.due_at: float | None = None
        """When to look again, while the log writer has no room."""
        poller.add_reader(self.fd, self._pass_on)

    def resume_if_due(self, now: float) -> None:
        """Go on, if it is time: there may be room again."""
        if self.due_at is not None and self.due_at <= now:
            self.due_at = None
            self._poller.add_reader(self.fd, self._pass_on)

    def _pass_on(self) -> bool:
        """Whether there may be more. What the program makes this raise must not end the master."""
        try:
            return self._pass_on_some()
        except Exception as error:
            self._end()
            self._on_failure(f"{type(error).__name__}: {error}")
            return False

    def _pass_on_some(self) -> bool:
        data = None if self._has_ended else self._relay()
        if data is None:
            return False
        if not data:
            self._end()
            return False
        self._tail = _last_bytes(self._tail + data)
        return True

    def _relay(self) -> bytes | None:
        if self._outlet is not None:
            data = forward_pipe(self.fd, self._outlet)
        elif self._log.has_pending and not self._has_died:
            data = None  # it waits in the program's pipe, as it would without us between the two
        elif data := read_available(self.fd):
            self._log.put(data)
        if data is None and self.due_at is None and has_data(self.fd):
            self.due_at = monotonic() + _RETRY_INTERVAL
            self._poller.remove(self.fd)
        return data

    def read_tail(self) -> str:
        """The last lines, indented; empty when there were none."""
        self._has_died = True
        for _ in range(_MAX_FINAL_READS):
            if not self._pass_on():
                break
        lines = self._tail.decode("utf-8", "backslashreplace").splitlines()
        shown = [line for line in lines if line.strip()][-_TAIL_LINES:]
        return "\n".join(f"  {line}" for line in shown)

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            if self.due_at is None:
                self._poller.remove(self.fd)
            self.due_at = None

    def close(self) -> None:
        """Nobody of its session is left."""
        self._end()
        self.close_copy()

    def close_copy(self) -> None:
        """In a child."""
        os.close(self.fd)
        if self._outlet is not None:
            os.close(self._outlet)


def _last_bytes(said: bytes) -> bytes:
    """At most the last _TAIL bytes, from the begin of a line on, or else of a character."""
    if len(said) <= _TAIL_BYTES:
        return said
    tail = said[-_TAIL_BYTES:]
    if (line := tail.find(b"\n", 0, -1) + 1) > 0:
        return tail[line:]
    whole = next((at for at in range(4) if tail[at] & 0xC0 != 0x80), 0)
    return tail[whole:]
