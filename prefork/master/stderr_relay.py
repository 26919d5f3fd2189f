"""The relay of a program's stderr to a log. It keeps an excerpt as the reason of a failure.

With ``--log-dir`` the stderr goes to the log writer, as stdout does; otherwise to the log of the
master.

Design
------
- **The stderr of a program passes through the master,** which keeps an excerpt of it as the reason
  of a failure (output_excerpt.py). With a log writer it is passed on by tee(2), and taken only when
  the pipe to the log writer got it: what has no room waits in the program's own pipe. stdout goes
  where that of any worker does.
- **A program waits while the log has no room,** as if it wrote there itself. Only its last output
  is read all the same when it died, as the reason of its end. The guard process drops what has no
  room.
- **What goes to the master's own log is passed on as it is,** without a stamp, like stdout: the
  program has the descriptor of the log and can write there anyway.
"""

import os
from collections.abc import Callable
from time import monotonic

from prefork.master.output_excerpt import OutputExcerpt
from prefork.observe.logger import Log
from prefork.unix.pipes import Pipe, forward_pipe, has_data, read_available
from prefork.unix.poller import Poller

_RETRY_INTERVAL = 0.05
"""Seconds before the next try while the log writer has no room."""

_MAX_READS = 64
"""Reads in one go, because a program, or a grandchild after its death, may go on writing."""


class StderrRelay:
    """Passes on the stderr of one program, one read at a time, until end of file or ``close``.

    ``log_writer_pipe``: a pipe to the log writer, which this object closes; None: there is none.
    ``on_failure``: called once with the reason when nothing can be passed on any more.
    ``fd``: the read end. ``target_fd``: the descriptor that the output goes to. ``due_at``:
    monotonic time of the next try while the log writer has no room; None: it has room.
    ``excerpt``: of what was passed on.
    """

    def __init__(
        self,
        pipe: Pipe,
        poller: Poller,
        log: Log,
        log_writer_pipe: int | None,
        on_failure: Callable[[str], None],
    ) -> None:
        self.fd = pipe.reader
        self.target_fd = log.fd if log_writer_pipe is None else log_writer_pipe
        self._log = log.line_writer
        self._log_writer_pipe = log_writer_pipe
        self._on_failure = on_failure
        self._poller = poller
        self.excerpt = OutputExcerpt()
        self._has_ended = False
        self._has_died = False
        """The program died: its last output is read also while the log has no room for it."""
        self.due_at: float | None = None
        poller.add_reader(self.fd, self._pass_on)

    def resume_if_due(self, now: float) -> None:
        """Go on if it is due, because there may be room again."""
        if self.due_at is not None and self.due_at <= now:
            self.due_at = None
            self._poller.add_reader(self.fd, self._pass_on)

    def _pass_on(self) -> bool:
        """Pass on one read, and return whether there may be more.

        No exception that the output of a program raises may end the master.
        """
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
        self.excerpt.feed(data)
        return True

    def _relay(self) -> bytes | None:
        """Move one read to the log; return its bytes, b"" at end of file, None: nothing to read or
        no room.
        """
        if self._log_writer_pipe is not None:
            data = forward_pipe(self.fd, self._log_writer_pipe)
        elif self._log.has_pending and not self._has_died:
            data = None  # it waits in the pipe of the program
        elif data := read_available(self.fd):
            self._log.put(data)
        if data is None and self.due_at is None and has_data(self.fd):
            self.due_at = monotonic() + _RETRY_INTERVAL
            self._poller.remove(self.fd)
        return data

    def catch_up(self) -> None:
        """Pass on what the program wrote so far, so that it stands before a line about it."""
        for _ in range(_MAX_READS):
            if not self._pass_on():
                break

    def read_last(self) -> None:
        """Pass on the last output of a program that died, for its excerpt."""
        self._has_died = True
        self.catch_up()

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            if self.due_at is None:
                self._poller.remove(self.fd)
            self.due_at = None

    def close(self) -> None:
        """Pass on what is left, and end the relay, when no process of the session is left."""
        self.read_last()
        self._end()
        self.close_copy()

    def close_copy(self) -> None:
        """Close the copies of the descriptors, in a child."""
        os.close(self.fd)
        if self._log_writer_pipe is not None:
            os.close(self._log_writer_pipe)
