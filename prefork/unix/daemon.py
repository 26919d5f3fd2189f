"""Run the master in the background (daemon(7)), and tell the foreground process how the start went.

The process that was started waits on a pipe until the daemon is ready or has failed, then exits
with the matching code. Until then the daemon keeps the terminal, so that the app's traceback is
seen where the command was typed.
"""

import os
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

from prefork.errors import MachineError, UsageError
from prefork.unix.nonblocking_writer import print_to_stderr
from prefork.unix.streams import StandardDescriptors, ensure_standard_descriptors, flush_streams
from prefork.wire.start_report import decode_report, encode_report


class ForegroundProcess:
    """The daemon's end of the pipe to the foreground process that waits.

    ``fd`` -1 means that there is none: the master itself runs in the foreground, and no method
    reports anything.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.exit_code_if_unready = MachineError.exit_code
        """The exit code of the foreground process if the master ends before it was ready and
        without an error."""

    def report_ready(self, redirect: Callable[[], object]) -> None:
        """Let the foreground process exit with 0, then release the terminal by ``redirect()``."""
        if self._fd >= 0:
            self.report_exit_code(0)
            redirect()

    def report_exit_code(self, code: int) -> None:
        """Let the foreground process exit with ``code``; after ``report_ready`` nothing happens."""
        if self._fd >= 0:
            try:
                os.write(self._fd, encode_report(code))
            except BrokenPipeError:
                pass
            self.close_copy()

    def explain_early_stop(self, name: str, done: str) -> str:
        """Set the exit code of a foreground whose master is told to stop before it was ready.

        Return the message for that foreground.

        ``name``: of the app. ``done``: why all workers are done with their work; empty while they
        are not. The message is empty when no foreground process waits, or when all workers are
        done: then the foreground exits with 0, otherwise with 100.
        """
        self.exit_code_if_unready = 0 if done else UsageError.exit_code
        return "" if done or self._fd < 0 else f"{name}: told to stop before it was ready"

    def close_copy(self) -> None:
        """Close the pipe, in a child or after the report."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def daemonize(to_close: Iterable[int] = ()) -> ForegroundProcess:
    """Continue in a background process, in a session of its own.

    Return the pipe to the foreground process. That process itself does not return from here: it
    closes the descriptors ``to_close``, waits for the report and exits.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child:
        for fd in (writer, *to_close):
            os.close(fd)
        os.waitpid(child, 0)  # it exits at once, after its second fork
        _exit_as_reported(reader)
    os.setsid()
    # Fork again: the leader of a session could acquire a controlling terminal, its child cannot.
    if os.fork():
        os._exit(0)
    os.close(reader)
    # Only stdin is replaced now: stdout and stderr keep the terminal until the master is ready.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return ForegroundProcess(writer)


def _exit_as_reported(reader: int) -> NoReturn:
    """Wait for the exit code from the daemon, and exit with it; 111 when the daemon died."""
    report = os.read(reader, 4096)
    code = MachineError.exit_code
    if report:
        try:
            code = decode_report(report)
        except ValueError as error:
            text = f"prefork: {error}; `prefork list` tells whether the app runs"
            print_to_stderr(text)
    else:
        print_to_stderr("prefork: the daemon died before it was ready")
    os._exit(code)


def open_standard_streams() -> None:
    """Open stdin, stdout and stderr at /dev/null where the parent process has closed them."""
    ensure_standard_descriptors()
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def redirect_output(output: int | None, original: StandardDescriptors | None = None) -> list[int]:
    """Redirect stdout and stderr to the descriptor ``output``, or to /dev/null for None.

    ``output`` is no path, because another user may have exchanged the log meanwhile. ``original``
    is what both descriptors led to before the app was imported. Return the descriptors that the app
    uses for files of its own since then; they stay as they are.
    """
    flush_streams()
    original = original or StandardDescriptors()
    fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC) if output is None else output
    kept = [standard for standard in (1, 2) if not original.replace(standard, fd)]
    if output is None:
        os.close(fd)
    return kept
