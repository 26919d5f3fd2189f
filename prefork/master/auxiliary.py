"""An auxiliary process: one that works for the master beside the workers, and its successors.

The log writer, the watcher and the status server are such: forked with a channel to the master,
heard while they live, noticed when they die, replaced. The master's signals mean nothing to them,
because they may come to the whole process group. Who dies young makes its successor pause, longer
each time.

What such a process says is hostile input, because it may have been taken over: the first message
that makes no sense, or raises anything else in the master, is the last that is heard of it. It is
killed, and its death is logged with the reason and makes room for another, like any death.

What differs is the owner's: which channel it is and what is said there, where the pause passes (in
the new process or before it is forked), what is logged, and how the last one is ended.
"""

import os
import signal
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from prefork.errors import MachineError
from prefork.unix.poller import Poller
from prefork.unix.process import Child, fork, unblock_signals

MIN_LIFETIME = 1.0
"""Seconds; one that dies younger has its successor pause, and what the machine does not allow is
tried again after as many."""

MIN_PAUSE = 0.1

EXIT_GRACE = 0.02
"""Seconds from the end of a channel to that of its process, if it ends. The master waits for them,
once in the life of such a process."""

_MASTER_SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)


class AuxiliaryChannel(Protocol):
    """An end of what ties the process to the master; readable when something came."""

    def fileno(self) -> int:
        """For whoever waits."""

    def close(self) -> None:
        """In a child, for its copy."""

    def hang_up(self, poller: Poller) -> None:
        """In the master, for good, and without ever waiting."""


C = TypeVar("C", bound=AuxiliaryChannel)


class AuxiliaryProcess(Generic[C]):
    """One kind, at most one process at a time. ``hear`` reads what it said on its channel, and
    raises EOFError when that was closed, ValueError for what makes no sense; ``on_death`` is told
    who died and of what, ``on_failure`` why there could be none."""

    def __init__(
        self,
        name: str,
        poller: Poller,
        max_pause: float,
        read: Callable[[C], None],
        on_death: Callable[[str], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self._name = name
        self._poller = poller
        self._max_pause = max_pause
        self._read_message = read
        self._on_death = on_death
        self._on_failure = on_failure
        self._child: Child | None = None
        self._is_ignored = False
        """Nothing more is heard of the one that there is …"""
        self._fault = ""
        """… for this reason; empty: it closed its channel."""
        self.channel: C | None = None
        """The master's end, while there is a process."""
        self.due_at = 0.0
        """When the next one may be forked, while there is none."""
        self._pause = 0.0
        self._is_delayed = False
        self._spawned_at = self._paused_for = 0.0

    def __bool__(self) -> bool:
        """Whether there is one, as far as we have noticed."""
        return self._child is not None

    # Its birth.

    def ensure_running(self, spawn: Callable[[], None]) -> None:
        """Have one, by ``bear``, if it is due."""
        if self._child is not None or time.monotonic() < self.due_at:
            return
        try:
            spawn()
        except MachineError as error:
            self.due_at = time.monotonic() + MIN_LIFETIME
            self._on_failure(str(error))

    def spawn(self, ours: C, theirs: AuxiliaryChannel, main: Callable[[], int]) -> None:
        """Fork the next one, which runs ``live()`` and has ``its`` end; the ends are taken from the
        caller, also if it fails. Raises MachineError."""

        def run() -> int:
            ours.close()
            _ignore_master_signals()
            return main()

        try:
            child = fork(run)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._child, self.channel, self._spawned_at = child, ours, time.monotonic()
        self._is_ignored, self._fault = False, ""
        # A pause that did not pass before passes in it now, and makes it no older.
        self._paused_for = 0.0 if self._is_delayed else self._pause
        self._is_delayed = False
        self._poller.add_reader(ours.fileno(), lambda: self._read(ours))
        self._poller.add_reader(child.pidfd, lambda: self._reap(child, ours))

    # Its pause.

    def sleep_pause(self) -> None:
        """In the process, before it works: the pause passes here, and it exists meanwhile."""
        time.sleep(self._pause)

    def delay_next(self) -> None:
        """In the master: the pause passes before the next one is forked."""
        self._is_delayed = True
        self.due_at = time.monotonic() + self._pause

    def lengthen_pause(self) -> None:
        """It was in vain once more."""
        self._pause = min(self._max_pause, max(MIN_PAUSE, self._pause * 2))

    def reset_pause(self) -> None:
        """The next one is another matter, and due at once."""
        self._pause = self.due_at = 0.0

    # Its life and death. What the poller saw at one look may be over when we are told of it: then
    # somebody else is in its place, or nobody.

    def _read(self, channel: C) -> None:
        if channel is not self.channel or self._is_ignored:
            return
        try:
            self._read_message(channel)
        except EOFError:
            self._stop_reading("")
        except Exception as error:  # whatever it made us raise: it must not end the master
            self._stop_reading(f"{type(error).__name__}: {error}")

    def _stop_reading(self, fault: str) -> None:
        """A process that only closed its channel is mostly about to die by itself, and then its
        own exit code is to be seen; one that goes on would be of no use any more."""
        assert self._child is not None, "it was heard"
        assert self.channel is not None, "it was heard on it"
        self._is_ignored, self._fault = True, fault
        self._poller.remove(self.channel.fileno())
        if fault or not self._child.wait_for_exit(EXIT_GRACE):
            self.kill()

    def _reap(self, child: Child, channel: C) -> None:
        if child is not self._child:
            return
        self._read(channel)  # its last words
        death = self.detach().reap()
        if time.monotonic() - self._spawned_at < MIN_LIFETIME + self._paused_for:
            self.lengthen_pause()
        else:
            self._pause = 0.0
        self.due_at = 0.0
        how = f"the {self._name} died ({death.signal or f'exit code {death.code}'})"
        if self._fault:
            how = f"the {self._name} made no sense, and was killed ({self._fault})"
        self._on_death(how)

    def detach(self) -> Child:
        """Nothing of the one that there is is heard any more; whoever asked for it reaps it."""
        child, channel = self._child, self.channel
        assert child is not None, "there is one"
        assert channel is not None, "it was born with it"
        self._child = self.channel = None
        if not self._is_ignored:
            self._poller.remove(channel.fileno())
        self._poller.remove(child.pidfd)
        channel.hang_up(self._poller)
        return child

    def kill(self) -> None:
        """It is noticed as any death is."""
        if self._child is not None:
            self._child.send_signal(signal.SIGKILL)

    def knows_pid(self, pid: int) -> bool:
        """Whether it is its."""
        return self._child is not None and self._child.pid == pid

    def close_copy(self) -> None:
        """In a child."""
        if self._child is not None:
            os.close(self._child.pidfd)
        if self.channel is not None:
            self.channel.close()


def _ignore_master_signals() -> None:
    for signum in _MASTER_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    unblock_signals()
