"""Going to the background (daemon(7)), and telling the foreground how it went.

The process that was started waits on a pipe until the daemon is ready or has failed, and leaves
with the matching exit code. Until then the daemon keeps the terminal, so that the app's traceback
is seen by whoever started it.
"""

import os
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

from prefork.errors import MachineError, UsageError
from prefork.unix.nonblocking_writer import print_to_stderr
from prefork.unix.streams import StandardDescriptors, ensure_standard_descriptors, flush_streams


class ForegroundProcess:
    """The line to the waiting foreground process, held by the daemon; -1: nobody waits."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.exit_code_if_unready = MachineError.exit_code
        """What the foreground returns when the master ends before it was ready, without a fault."""

    def report_ready(self, redirect: Callable[[], object]) -> None:
        """Let the foreground return 0, and let go of the terminal by ``redirect()``."""
        if self._fd >= 0:
            self.report_exit_code(0)
            redirect()

    def report_exit_code(self, code: int) -> None:
        """Let the foreground return ``code``; after ``ready`` there is nobody left to tell."""
        if self._fd >= 0:
            try:
                os.write(self._fd, bytes([code]))
            except BrokenPipeError:
                pass
            self.close_copy()

    def explain_early_stop(self, name: str, done: str) -> str:
        """Words for a foreground that waits for a master which ends without a fault: it is told to
        stop. Empty: no foreground waits, or the work of all workers is ``done``."""
        self.exit_code_if_unready = 0 if done else UsageError.exit_code
        return "" if done or self._fd < 0 else f"{name}: told to stop before it was ready"

    def close_copy(self) -> None:
        """In a child, or when told: let go of the pipe."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def daemonize(to_close: Iterable[int] = ()) -> ForegroundProcess:
    """Return in a new session, in the background; the foreground never returns from here, and lets
    go of the descriptors ``leaving`` while it waits."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child:
        for fd in (writer, *to_close):
            os.close(fd)
        os.waitpid(child, 0)
        _exit_as_reported(reader)
    os.setsid()
    # The leader of a session could acquire a terminal; its child cannot.
    if os.fork():
        os._exit(0)
    os.close(reader)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return ForegroundProcess(writer)


def _exit_as_reported(reader: int) -> NoReturn:
    report = os.read(reader, 1)
    if not report:
        print_to_stderr("prefork: the daemon died before it was ready")
    os._exit(report[0] if report else 111)


def open_standard_streams() -> None:
    """See that stdin, stdout and stderr are open, if only at /dev/null: the parent process may
    have closed them."""
    ensure_standard_descriptors()
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def redirect_output(output: int | None, original: StandardDescriptors | None = None) -> list[int]:
    """Let go of the terminal: stdout and stderr go to the descriptor ``output``; None: nowhere.

    It is no path: another user may have exchanged the log meanwhile. ``before``: what they were
    when no app had run; the descriptors that are the app's since then are left alone and returned.
    """
    flush_streams()
    original = original or StandardDescriptors()
    fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC) if output is None else output
    kept = [standard for standard in (1, 2) if not original.replace(standard, fd)]
    if output is None:
        os.close(fd)
    return kept
