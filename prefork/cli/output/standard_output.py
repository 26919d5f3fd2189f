"""The stdout of a verb, whose write errors are reported as errors of the machine.

Design
------
- **Verbs have a stdout of their own.** Its errors are ``OutputError``, so a full disk is not taken
  for a bug, each app of a verb still gets its turn, and the last part of the text fails while the
  command can report it. With Python's own stdout an OSError of a ``print`` could have any cause,
  and the last part is written when the interpreter exits, where no handler is left.
- **Serving restores Python's stdout.** What an app prints, and what it sees when that fails, is
  Python's own.
"""

import io
import os
import signal
import sys
import time

from prefork.errors import MachineError
from prefork.unix.journal import is_journal_stream
from prefork.unix.nonblocking_writer import print_to_stderr


class OutputError(MachineError):
    """stdout takes no more data: its disk is full, or a file size limit is reached."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to stdout: {error.strerror}")


class _CheckedStdout(io.FileIO):
    """The raw stream below ``sys.stdout`` of a verb.

    ``is_lost``: a write failed, and everything written after it is dropped. ``is_restored``: stdout
    is Python's own again, and what is still written here is dropped.
    """

    is_lost = is_restored = False

    def write(self, data: object) -> int:
        """Write all of ``data`` and return its size in bytes.

        A write(2) that a signal interrupts takes a part of the data, so this continues until all is
        written. Raises OutputError; BrokenPipeError when the pipe has no reader.
        """
        remaining = memoryview(data)  # type: ignore[arg-type]
        size = remaining.nbytes
        try:
            while remaining and not self.is_lost and not self.is_restored:
                remaining = remaining[os.write(self.fileno(), remaining) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            self.is_lost = True
            raise OutputError(error) from error
        return size


def report_write_errors() -> None:
    """Replace ``sys.stdout`` by a stream whose ``print`` raises OutputError.

    Nothing changes where ``sys.stdout`` is not the stream that Python opened, as in a test or in a
    program that calls the command.
    """
    stdout = sys.stdout
    if stdout is not sys.__stdout__ or not isinstance(stdout, io.TextIOWrapper):
        return
    stdout.flush()
    raw = _CheckedStdout(stdout.fileno(), "wb", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stdout.encoding,
        errors=stdout.errors,
        line_buffering=stdout.line_buffering,
        write_through=stdout.write_through,
    )


def restore_stdout() -> None:
    """Make ``sys.stdout`` Python's own stream again. Text that was not written yet is dropped."""
    watched, sys.stdout = sys.stdout, sys.__stdout__ or sys.stdout
    raw = _checked_stdout(watched)
    if raw is not None:
        raw.is_restored = True
        watched.flush()


def finish_output(code: int) -> int:
    """Flush stdout at the end of a command and return the exit code.

    ``code`` is the exit code so far; it stays unless it is 0 and the output fails: then it becomes
    that of OutputError, or 128 + SIGPIPE when the reader of a pipe has gone.
    """
    raw = _checked_stdout(sys.stdout)
    try:
        sys.stdout.flush()
        if raw is not None and raw.is_lost and code == 0:
            raise OutputError(OSError(0, "a part of the output is lost"))
    except BrokenPipeError:
        code = code or 128 + signal.SIGPIPE
    except (OutputError, OSError) as error:
        print_error(str(error))
        code = code or MachineError.exit_code
    restore_stdout()
    return code


class _ErrorFormat:
    """How this process prints its errors."""

    is_json = False


def print_errors_as_json() -> None:
    """Print errors as the records of the log are from now on, with ``--log-format json``."""
    _ErrorFormat.is_json = True


def print_error(text: str) -> None:
    """Print ``prefork: TEXT`` on stderr for the operator, without waiting for the reader of stderr.

    A failed write is ignored: stderr may be on the same full disk, or a pipe that nothing reads.
    The exit code reports the error in any case.
    """
    if _ErrorFormat.is_json:
        from prefork.observe.log_records import format_log_json, format_stamp  # noqa: PLC0415

        print_to_stderr(format_log_json(format_stamp(time.time()), os.getpid(), "error", text))
    elif is_journal_stream(os.environ, 2):
        from prefork.observe.journal_log import prefix_error  # noqa: PLC0415 - few need it

        print_to_stderr(prefix_error(f"prefork: {text}"))
    else:
        print_to_stderr(f"prefork: {text}")


def _checked_stdout(stream: object) -> _CheckedStdout | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, _CheckedStdout) else None
