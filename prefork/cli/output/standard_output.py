"""The stdout of a verb: a full disk behind it is the machine's fault, and named as such.

Without this an OSError of a ``print`` could be anything, and the last part of the text fails when
the interpreter ends, where no handler is left. Serving gives it back: what an app prints, and what
it gets to see when that fails, is Python's own.
"""

import io
import os
import signal
import sys

from prefork.errors import MachineError
from prefork.unix.nonblocking_writer import print_to_stderr


class OutputError(MachineError):
    """Stdout takes no more: its disk is full, or it has reached the limit of its size."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to stdout: {error.strerror}")


class _CheckedStdout(io.FileIO):
    """``is_lost``: it failed once, and what is written from now on is dropped. ``is_given_back``:
    so is it then, because stdout is Python's own again."""

    is_lost = is_restored = False

    def write(self, data: object) -> int:
        """Write all of it; a write(2) that a signal interrupts has taken a part.

        Raises OutputError; a pipe without a reader stays BrokenPipeError.
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
    """From now on ``print`` raises OutputError. Where stdout is not the process's own, as in a test
    or in a program that calls us, nothing changes."""
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
    """Stdout is Python's own again; what was not written yet is dropped."""
    watched, sys.stdout = sys.stdout, sys.__stdout__ or sys.stdout
    raw = _checked_stdout(watched)
    if raw is not None:
        raw.is_restored = True
        watched.flush()


def finish_output(code: int) -> int:
    """Write what is left, at the end of a command; the exit code, which was ``code`` so far."""
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


def print_error(text: str) -> None:
    """An error for the operator. Stderr may be on the full disk that is to be told of, or a pipe
    that nothing reads, and then the exit code tells it all the same."""
    print_to_stderr(f"prefork: {text}")


def _checked_stdout(stream: object) -> _CheckedStdout | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, _CheckedStdout) else None
