"""A process that works for the master beside the workers: spawned, read, reaped and replaced.

The log writer, the watcher and the status server are such processes. The master forks them with a
channel, reads their messages, notices their death by their pidfd, and replaces them. They ignore
the signals of the master, because a terminal sends those to the whole process group. A process that
dies within a second makes its successor pause, longer each time.

Messages of such a process are hostile input, because it may have been taken over. The first invalid
message, or one that raises any other exception in the master, is the last that the master reads.
The process is killed, and its death is logged with the reason and handled like any death.

Design
------
- **One class for three kinds of processes.** Their owners differ in the channel and its messages,
  in the log text, in where the pause passes, and in how the last process ends.
- **The pause passes in the new log writer and the new status server,** because they hold the pipes
  and the sockets meanwhile. The pause of the watcher passes in the master, because a reload may
  bring other settings.
- **At the end** the master waits for the log writer, tells the status server to leave, and kills
  the watcher.
- **The first invalid message is the last.** A log writer, a status server or a watcher is killed
  and replaced at once; a worker is replaced like a worn one (see ``ready_messages.py``).
"""

import os
import signal
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from prefork.errors import MachineError
from prefork.master.master_record import AuxiliaryRecord
from prefork.unix.poller import Poller
from prefork.unix.process import Child, fork, unblock_signals

MIN_LIFETIME = 1.0
"""Seconds. The successor of a process that dies younger pauses; a fork that the machine refuses is
tried again after as many seconds."""

MIN_PAUSE = 0.1
"""Seconds of the first pause."""

EXIT_GRACE = 0.02
"""Seconds from the end of a channel to the exit of its process, if it exits by itself. The master
waits for them, once in the life of such a process."""

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
    """One end of the channel between the process and the master, readable when a message came."""

    def fileno(self) -> int:
        """Return the descriptor to poll."""

    def close(self) -> None:
        """Close a copy, in a child of the master."""

    def hang_up(self, poller: Poller, /) -> None:
        """Close the master's end for good, without ever blocking."""


C = TypeVar("C", bound=AuxiliaryChannel)


class AuxiliaryProcess(Generic[C]):
    """One kind of auxiliary process, of which at most one runs at a time.

    ``name``: for log texts. ``max_pause``: the longest pause in seconds before a successor works.
    ``read``: reads the messages on the channel; it raises EOFError when the channel was closed, and
    ValueError for an invalid message.
    ``on_death``: called with a text when the process died. ``on_failure``: called with a text when
    none could be spawned.
    ``channel``: the master's end, or None. ``due_at``: monotonic time before which none is spawned.
    """

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
        """The channel of the present process is not read any more."""
        self._fault = ""
        """The error that its last message raised; empty: it closed its channel."""
        self.channel: C | None = None
        self.due_at = 0.0
        self._pause = 0.0
        self._is_delayed = False
        self._spawned_at = self._paused_for = 0.0

    def __bool__(self) -> bool:
        """Return whether a process runs, as far as the master has noticed."""
        return self._child is not None

    # Spawning.

    def ensure_running(self, spawn: Callable[[], None]) -> None:
        """Call ``spawn`` if no process runs and the next one is due.

        A MachineError is reported to ``on_failure``, and the next try is due a second later.
        """
        if self._child is not None or time.monotonic() < self.due_at:
            return
        try:
            spawn()
        except MachineError as error:
            self.due_at = time.monotonic() + MIN_LIFETIME
            self._on_failure(str(error))

    def spawn(self, ours: C, theirs: AuxiliaryChannel, main: Callable[[], int]) -> None:
        """Fork the next process, which runs ``main()`` and exits with its result.

        ``ours`` and ``theirs``: the ends of the channel for the master and for the process. Both
        belong to this object from now on, also if the fork fails. Raises MachineError.
        """

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
        # A pause that did not pass in the master passes in the process now, which does not count
        # as lifetime.
        self._paused_for = 0.0 if self._is_delayed else self._pause
        self._is_delayed = False
        self._poller.add_reader(ours.fileno(), lambda: self._read(ours))
        self._poller.add_reader(child.pidfd, lambda: self._reap(child, ours))

    # The pause.

    def sleep_pause(self) -> None:
        """Sleep for the pause, in the new process before it works."""
        time.sleep(self._pause)

    def delay_next(self) -> None:
        """Let the pause pass in the master, before the next process is forked."""
        self._is_delayed = True
        self.due_at = time.monotonic() + self._pause

    def lengthen_pause(self) -> None:
        """Double the pause, up to the longest, after one more failure."""
        self._pause = min(self._max_pause, max(MIN_PAUSE, self._pause * 2))

    def reset_pause(self) -> None:
        """Make the next process due at once and without a pause, because it has other settings."""
        self._pause = self.due_at = 0.0

    # Life and death. A callback of the poller may come after the process was replaced in the same
    # turn of the loop, so each callback checks that its process is still the present one.

    def _read(self, channel: C) -> None:
        if channel is not self.channel or self._is_ignored:
            return
        try:
            self._read_message(channel)
        except EOFError:
            self._stop_reading("")
        except Exception as error:  # hostile input must not end the master
            self._stop_reading(f"{type(error).__name__}: {error}")

    def _stop_reading(self, fault: str) -> None:
        """Read no more messages, and kill the process unless it exits by itself.

        A process that only closed its channel is mostly about to exit, and its own exit code is
        worth more than SIGKILL. One that goes on is of no use without a channel.
        """
        assert self._child is not None, "a message was read"
        assert self.channel is not None, "a message was read on it"
        self._is_ignored, self._fault = True, fault
        self._poller.remove(self.channel.fileno())
        if fault or not self._child.wait_for_exit(EXIT_GRACE):
            self.kill()

    def _reap(self, child: Child, channel: C) -> None:
        if child is not self._child:
            return
        self._read(channel)  # messages that it sent before it died
        death = self.detach().reap()
        if time.monotonic() - self._spawned_at < MIN_LIFETIME + self._paused_for:
            self.lengthen_pause()
        else:
            self._pause = 0.0
        self.due_at = 0.0
        how = f"the {self._name} died ({death.signal or f'exit code {death.code}'})"
        if self._fault:
            how = f"the {self._name} sent an invalid message and was killed ({self._fault})"
        self._on_death(how)

    def detach(self) -> Child:
        """Stop managing the present process and close its channel; the caller reaps it."""
        child, channel = self._child, self.channel
        assert child is not None, "a process runs"
        assert channel is not None, "it was spawned with a channel"
        self._child = self.channel = None
        if not self._is_ignored:
            self._poller.remove(channel.fileno())
        self._poller.remove(child.pidfd)
        channel.hang_up(self._poller)
        return child

    def kill(self) -> None:
        """Send SIGKILL to the process; its death is noticed like any other."""
        if self._child is not None:
            self._child.send_signal(signal.SIGKILL)

    def knows_pid(self, pid: int) -> bool:
        """Return whether ``pid`` is the present process."""
        return self._child is not None and self._child.pid == pid

    def records(self) -> list[AuxiliaryRecord]:
        """Return what the master holds of the present process; empty: none runs."""
        if self._child is None or self.channel is None:
            return []
        roles = {"pidfd": self._child.pidfd, "channel": self.channel.fileno()}
        return [AuxiliaryRecord(self._name, self._child.pid, self._pause, roles)]

    def close_copy(self) -> None:
        """Close the copies of pidfd and channel, in a child of the master."""
        if self._child is not None:
            os.close(self._child.pidfd)
        if self.channel is not None:
            self.channel.close()


def _ignore_master_signals() -> None:
    for signum in _MASTER_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    unblock_signals()
