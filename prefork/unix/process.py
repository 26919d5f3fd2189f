"""Child processes: fork one, watch it by pidfd, signal it, reap it.

A child is signalled by its pidfd, so a signal never reaches another process that got the same pid
meanwhile (pidfd_open(2), pidfd_send_signal(2)).
"""

import atexit
import ctypes
import os
import select
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from prefork.errors import MachineError
from prefork.unix.streams import flush_before_exit

PR_SET_PDEATHSIG = 1
"""A constant of prctl(2), which Python does not wrap."""


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """The way a child ended: exactly one of ``code`` and ``signal`` (its name) is set."""

    code: int | None
    signal: str | None


@dataclass(frozen=True, slots=True)
class Child:
    """A forked child that was not reaped yet. ``pidfd`` is readable once it is dead."""

    pid: int
    pidfd: int

    def send_signal(self, signum: int) -> None:
        """Send a signal; nothing happens when the child is dead already."""
        try:
            signal.pidfd_send_signal(self.pidfd, signum)
        except ProcessLookupError:
            pass

    def wait_for_exit(self, seconds: float) -> bool:
        """Wait up to ``seconds`` for the child to end; return whether it did. It is not reaped."""
        end = select.poll()
        end.register(self.pidfd, select.POLLIN)
        return bool(end.poll(max(0.0, seconds) * 1000))

    def reap(self) -> ExitStatus:
        """Wait for the end of the child, collect its status, and close the pidfd."""
        found = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        os.close(self.pidfd)
        assert found is not None, "waitid without WNOHANG always returns a child"
        if found.si_code == os.CLD_EXITED:
            return ExitStatus(found.si_status, None)
        return ExitStatus(None, signal_name(found.si_status))


def signal_name(number: int) -> str:
    """Return ``SIGTERM`` for 15, ``signal 40`` for a real-time signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def fork(run: Callable[[], int]) -> Child:
    """Fork a child that runs ``run()`` and exits with the code that it returns.

    The child starts with every handler at its default and all signals blocked, so that no signal is
    lost and no handler of the parent runs in it. ``run`` installs its own handlers and then calls
    ``unblock_signals``. Raises MachineError.
    """
    # Block before the fork: a signal between fork and the reset of handlers would run a handler of
    # the parent in the child.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _run_child(run)
    except OSError as error:
        raise MachineError(f"cannot fork a process: {error.strerror}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        return Child(pid, os.pidfd_open(pid))
    except OSError as error:
        # Without a pidfd the child could neither be watched nor signalled safely.
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise MachineError(f"cannot watch a new process: {error.strerror}") from error


def _run_child(run: Callable[[], int]) -> NoReturn:
    """Run ``run()`` in the child and exit with its result, or with 101 after an exception."""
    code = 101
    try:
        # The pipe is shared with the parent, whose loop the child must not wake.
        signal.set_wakeup_fd(-1)
        for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if callable(signal.getsignal(signum)):
                signal.signal(signum, signal.SIG_DFL)
        code = run()
    except SystemExit as exit_request:
        code = (
            exit_request.code
            if isinstance(exit_request.code, int)
            else int(exit_request.code is not None)
        )
    except BaseException:
        traceback.print_exc()
    finally:
        _exit(code)


def _exit(code: int) -> NoReturn:
    """Exit after the app's exit handlers, without running frames and finalizers of the parent."""
    try:
        # sys.exit would unwind the frames of the parent; os._exit alone skips atexit.
        atexit._run_exitfuncs()
        for error in flush_before_exit():
            traceback.print_exception(error)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def unblock_signals() -> None:
    """Unblock all signals; those that arrived while they were blocked are delivered now."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def set_parent_death_signal(signum: int, parent: int) -> bool:
    """Ask the kernel for ``signum`` when the parent dies (prctl(2), PR_SET_PDEATHSIG).

    Return False if the parent is dead already. To be called after the change of user, because that
    clears the request.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signum, 0, 0, 0)
    # The parent may have died before prctl(2); then the kernel sends nothing.
    return os.getppid() == parent


def reap_adopted_orphans(known: Callable[[int], bool]) -> None:
    """Reap the orphans that a process gets as PID 1 or as a subreaper, up to the first known child.

    ``known(pid)`` tells whether the pid is a child of prefork's own, which its owner reaps.
    """
    while True:
        try:
            # WNOWAIT leaves the process to be reaped: it may be a child of another module.
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or known(found.si_pid):
            return
        os.waitpid(found.si_pid, os.WNOHANG)
