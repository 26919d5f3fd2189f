"""Python's standard streams, which an app may replace or close, and the descriptors below them.

``sys.stdout`` and ``sys.stderr`` may be None, closed, an ``io.StringIO``, a codecs writer, a tee,
or any object with a ``write``. What was printed before may still be in ``sys.__stdout__``. So each
stream is asked for what it can do, and nothing that an app put there makes a start or an end fail.
"""

import os
import sys
from collections.abc import Iterator
from time import monotonic
from typing import Any

from prefork.unix.nonblocking_writer import NonblockingWriter, reopen_nonblocking

FLUSH_TIMEOUT = 1.0
"""Seconds for the reader of stdout to take what a process printed before its end."""


def flush_streams() -> list[Exception]:
    """Flush all of them; what went wrong with those that an app put there."""
    return [error for stream in _streams() for error in _flush(stream, None)]


def flush_before_exit() -> list[Exception]:
    """The same, without waiting for ever on a pipe or terminal that nothing reads: a process that
    ends is not to be held up by its last lines. Where it cannot be opened anew, a buffer
    that is larger than the room may still block."""
    for fd in (1, 2):
        _make_nonblocking(fd)
    deadline = monotonic() + FLUSH_TIMEOUT
    return [error for stream in _streams() for error in _flush(stream, deadline)]


def enable_line_buffering() -> None:
    """From now on a line that is printed is written at once, as on a terminal."""
    for stream in _streams():
        try:
            if reconfigure := _get_attribute(stream, "reconfigure"):
                reconfigure(line_buffering=True)
        except Exception:
            continue  # it is closed, or detached from its buffer: nothing is buffered there


def error_stream() -> Any:
    """A text stream for errors with all that PEP 3333 asks of ``wsgi.errors``: sys.stderr, or where
    the app put something less there, what it was before, or one for descriptor 2."""
    needed = ("write", "writelines", "flush")
    for stream in (sys.stderr, sys.__stderr__):
        if all(_get_attribute(stream, name) for name in needed) and _is_open(stream):
            return stream
    return os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)


def ensure_standard_descriptors() -> None:
    """See that 0, 1 and 2 are open, if only at /dev/null: else the next socket gets that number,
    and what an app or a library prints goes there."""
    for fd in range(3):
        if _file_identity(fd) is None:
            # The lowest free number, so it is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


class StandardDescriptors:
    """What 1 and 2 lead to, to be replaced later unless the app put something of its own there."""

    def __init__(self) -> None:
        self._original = {fd: _file_identity(fd) for fd in (1, 2)}

    def replace(self, fd: int, new: int) -> bool:
        """Put ``new`` at ``fd``; False: the app closed ``fd``, and a file or a connection of its
        own has that number now, which is left alone."""
        null = os.stat(os.devnull)
        if _file_identity(fd) not in (None, self._original[fd], (null.st_dev, null.st_ino)):
            return False
        os.dup2(new, fd)
        return True


def _streams() -> Iterator[Any]:
    found = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    yield from {id(stream): stream for stream in found if stream is not None}.values()


def _flush(stream: Any, deadline: float | None) -> list[Exception]:
    """``deadline`` (monotonic): what has no room until then is given up."""
    flush = _get_attribute(stream, "flush")
    if flush is None or not _is_open(stream):
        return []
    try:
        while deadline is None or _has_room(stream, deadline):
            try:
                flush()
                break
            except BlockingIOError:
                if deadline is None:
                    raise
                # The buffer keeps what had no room (io.BufferedWriter).
    except Exception as error:
        return [error]
    return []


def _get_attribute(stream: Any, name: str) -> Any:
    """None: it has no such attribute, or raises whatever it likes instead of saying so."""
    try:
        return getattr(stream, name, None)
    except Exception:
        return None


def _is_open(stream: Any) -> bool:
    """A TextIOWrapper that was detached from its buffer raises ValueError here."""
    try:
        return not stream.closed
    except AttributeError:
        return True
    except Exception:
        return False


def _has_room(stream: Any, deadline: float) -> bool:
    """Waits for it; True as well where no descriptor is behind the stream."""
    try:
        fd = stream.fileno()
    except Exception:
        return True
    return NonblockingWriter(fd).wait_writable(deadline - monotonic())


def _file_identity(fd: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make_nonblocking(fd: int) -> None:
    try:
        new = reopen_nonblocking(fd)
    except OSError:
        return  # the app closed it
    if not os.get_blocking(new):
        os.dup2(new, fd)
    os.close(new)
