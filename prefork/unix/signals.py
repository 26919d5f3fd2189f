"""Signals: parse their names, queue them for the master's loop, and size the stack of handlers.

A handler only appends to a deque, then writes a byte to a pipe that wakes the loop. The deque holds
the signals, so a full pipe loses none, their order is kept, and equal signals that the kernel did
not merge are not merged here either.

Design
------
- **The handler writes a byte itself,** after its entry is in the deque. The interpreter writes one
  as well (``signal.set_wakeup_fd``), and that one is needed, because only it comes while the loop
  is about to block. But it comes before the handler has run: the loop may read that byte first,
  find an empty deque, and sleep.
- **Workers get a larger signal stack** (``enlarge_signal_stack``). Handlers run on faulthandler's
  signal stack, and signals that arrive at once run on top of each other: seven of them ended a
  worker with SIGSEGV.
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
"""Bytes. The kernel needs up to 11 KB for each signal that arrives (AMX), and there are 64
signals."""


class _Stack(ctypes.Structure):
    """The C structure ``stack_t`` of sigaltstack(2)."""

    _fields_ = (
        ("start", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


def enlarge_signal_stack() -> None:
    """Give the calling thread a signal stack that is large enough for all signals at once.

    faulthandler installs one, on which Python's handlers then run, too, and which has room for few.
    Memory is taken only as far as it is used. Raises MachineError.
    """
    memory = mmap.mmap(-1, SIGNAL_STACK)
    stack = _Stack(ctypes.addressof(ctypes.c_char.from_buffer(memory)), 0, SIGNAL_STACK)
    if ctypes.CDLL(None, use_errno=True).sigaltstack(ctypes.byref(stack), None):
        reason = os.strerror(ctypes.get_errno())
        raise MachineError(f"cannot set a stack for signals: {reason}")
    _signal_stacks.append(memory)


_signal_stacks: list[mmap.mmap] = []
"""The stacks in use by the kernel; they must not be freed."""


def signal_number(text: str) -> int:
    """Return the number of a signal: 15 for ``TERM``, ``SIGTERM``, ``sigterm`` or ``15``.

    Raises UsageError, with a suggestion when another name is similar.
    """
    known = signal.valid_signals()
    # process.signal_name writes a real-time signal as "signal 40".
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
    """Return whether the terminal sends this process its own signals: WINCH, and INT at Ctrl-C.

    The terminal does so wherever stdin comes from, hence /dev/tty is asked.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False  # ENXIO: this process has no terminal
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


class SignalQueue:
    """A queue of the ``wanted`` signals, from its creation on. ``fd`` is readable when one
    arrived."""

    def __init__(self, wanted: Iterable[signal.Signals]) -> None:
        self._pending: deque[int] = deque()
        self.fd, self._wake_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake_fd, warn_on_full_buffer=False)
        for signum in wanted:
            signal.signal(signum, self._handle)

    def descriptors(self) -> dict[str, int]:
        """Return both ends of the pipe that wakes the loop, by role."""
        return {"signals": self.fd, "signals_writer": self._wake_fd}

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        """Handle a signal: append it, then wake the loop."""
        self._pending.append(signum)
        with suppress(BlockingIOError):  # a full pipe wakes the loop anyway
            os.write(self._wake_fd, b".")

    def collect(self) -> list[signal.Signals]:
        """Return all signals since the last call, in order."""
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
        """Close the pipe, in a child."""
        os.close(self.fd)
        os.close(self._wake_fd)
