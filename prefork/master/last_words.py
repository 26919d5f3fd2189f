"""A program's stderr on its way to the log, and its last lines, which tell why it did not start."""

import os

from prefork.unix.pipes import Pipe, read_available
from prefork.unix.waiting import Waiter

_TAIL = 4096
_LINES = 12
_MOST_READS = 64
"""After its death, because a grandchild may go on writing."""


class LastWords:
    """Passes on what comes, one read at a time, until it is closed or nobody can write any more."""

    def __init__(self, pipe: Pipe, waiter: Waiter, log_fd: int) -> None:
        self.fd = pipe.reader
        self._waiter = waiter
        self._log_fd = log_fd
        self._tail = b""
        self._ended = False
        waiter.watch(self.fd, self._pass_on)

    def _pass_on(self) -> bool:
        """Whether there may be more."""
        data = None if self._ended else read_available(self.fd)
        if data is None:
            return False
        if not data:
            self._end()
            return False
        self._tail = (self._tail + data)[-_TAIL:]
        try:
            os.write(self._log_fd, data)
        except OSError:
            pass  # the disk is full, or nobody reads our stderr: the program need not suffer
        return True

    def tell(self) -> str:
        """The last lines, indented; empty when there were none."""
        for _ in range(_MOST_READS):
            if not self._pass_on():
                break
        lines = self._tail.decode("utf-8", "replace").splitlines()
        shown = [line for line in lines if line.strip()][-_LINES:]
        return "\n".join(f"  {line}" for line in shown)

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._waiter.forget(self.fd)

    def close(self) -> None:
        """Nobody of its session is left."""
        self._end()
        os.close(self.fd)

    def close_copy(self) -> None:
        """In a child."""
        os.close(self.fd)
