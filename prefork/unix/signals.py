"""Signals by name, and the master's mailbox: there they are only queued, and read by the loop.

The handler appends to a deque, then writes a byte to a pipe that wakes the loop. The deque is the
truth, so a full pipe costs nothing; order is kept, and equal signals that the kernel did not merge
are not merged here either.

The interpreter writes a byte, too (``signal.set_wakeup_fd``), because only that one comes while the
loop is about to block. It is no promise that the handler has run: the loop may read that byte
first, find an empty deque, and sleep.
"""

import ctypes
import difflib
import mmap
import os
import signal
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType

from prefork.errors import MachineError, UsageError

SIGNAL_STACK = 1 << 20
"""Bytes. The kernel needs up to 11 KB for each signal that arrives (AMX), and there are 64."""


class _Stack(ctypes.Structure):
    """``stack_t`` in sigaltstack(2)."""

    _fields_ = (
        ("start", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


def enlarge_signal_stack() -> None:
    """Give the calling thread an alternate signal stack that all signals at once fit on.

    faulthandler makes one, on which Python's handlers then run, too. It has room for few: signals
    that were sent one after the other arrive on top of each other, and the process dies of SIGSEGV.
    Memory is taken only as far as it is used. Raises MachineError.
    """
    memory = mmap.mmap(-1, SIGNAL_STACK)
    stack = _Stack(ctypes.addressof(ctypes.c_char.from_buffer(memory)), 0, SIGNAL_STACK)
    if ctypes.CDLL(None, use_errno=True).sigaltstack(ctypes.byref(stack), None):
        reason = os.strerror(ctypes.get_errno())
        raise MachineError(f"cannot set a stack for signals: {reason}")
    _signal_stacks.append(memory)


_signal_stacks: list[mmap.mmap] = []
"""In use by the kernel."""


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


def is_in_terminal_foreground() -> bool:
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


class SignalQueue:
    """Collects ``wanted`` signals from its opening on. ``fd`` is readable when there is post."""

    def __init__(self, wanted: Iterable[signal.Signals]) -> None:
        self._pending: deque[int] = deque()
        self.fd, self._wake_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake_fd, warn_on_full_buffer=False)
        for signum in wanted:
            signal.signal(signum, self._handle)

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        self._pending.append(signum)
        with suppress(BlockingIOError):  # full: then there is something to read
            os.write(self._wake_fd, b".")

    def collect(self) -> list[signal.Signals]:
        """All that came since the last call, in order."""
        try:
            while len(os.read(self.fd, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass
        taken = []
        while self._pending:
            taken.append(signal.Signals(self._pending.popleft()))
        return taken

    def close_copy(self) -> None:
        """In a child: let go of the pipe."""
        os.close(self.fd)
        os.close(self._wake_fd)
