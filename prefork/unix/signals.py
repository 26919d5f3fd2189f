"""Signals by name, and the master's mailbox: there they are only queued, and read by the loop.

The handler appends to a deque and the interpreter writes a byte to a pipe that wakes the loop. The
deque is the truth, so a full pipe costs nothing; order is kept, and equal signals that the kernel
did not merge are not merged here either.
"""

import difflib
import os
import signal
from collections import deque
from collections.abc import Iterable
from types import FrameType

from prefork.errors import UsageError


def signal_number(text: str) -> int:
    """What ``TERM``, ``SIGTERM``, ``sigterm`` or ``15`` mean. Raises UsageError."""
    known = signal.valid_signals()
    # "signal 40" is how process.signal_name writes a real-time one.
    name = text.upper().removeprefix("SIGNAL ").removeprefix("SIG")
    if name.isascii() and name.isdigit():
        if int(name) in known:
            return int(name)
        raise UsageError(f"there is no signal {text}; they are 1 to {max(known)}")
    names = {each.name.removeprefix("SIG"): int(each) for each in signal.Signals}
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else "; `kill -l` lists them"
        raise UsageError(f"no signal is called {text!r}{hint}")
    return names[name]


def in_terminal_foreground() -> bool:
    """Whether the terminal sends us its own signals: WINCH when it is resized, INT at Ctrl-C.

    It does so wherever our stdin comes from, hence /dev/tty.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False  # ENXIO: we have none
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


class Mailbox:
    """Collects ``wanted`` signals from its opening on. ``fd`` is readable when there is post."""

    def __init__(self, wanted: Iterable[signal.Signals]) -> None:
        self._post: deque[int] = deque()
        self.fd, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for signum in wanted:
            signal.signal(signum, self._note)

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        self._post.append(signum)

    def collect(self) -> list[signal.Signals]:
        """All that came since the last call, in order."""
        try:
            while len(os.read(self.fd, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass
        taken = []
        while self._post:
            taken.append(signal.Signals(self._post.popleft()))
        return taken

    def close_copy(self) -> None:
        """In a child: let go of the pipe."""
        os.close(self.fd)
        os.close(self._wake)
