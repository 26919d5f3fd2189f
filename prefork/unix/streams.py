"""Python's standard streams, which an app may replace or close, and the descriptors 0, 1 and 2.

``sys.stdout`` and ``sys.stderr`` may be None, closed, an ``io.StringIO``, a codecs writer, a tee,
or any object with a ``write``. Text that was printed before may still be in ``sys.__stdout__``. So
each stream is asked for what it can do, and no object that an app put there makes a start or an end
fail.

Design
------
- **A descriptor that the app closed is opened at /dev/null after the import,** so that no socket of
  prefork gets its number and the output of a library.
- **A descriptor that became a file of the app's own stays as it is** when the master lets go of the
  terminal, and the log says so.
- **stdout of a worker is line-buffered when it goes to the log writer,** as on a terminal
  (``enable_line_buffering``): a reader who follows the log sees a line when it was printed.
"""

import os
import sys
from collections.abc import Iterator
from time import monotonic
from typing import Any

from prefork.unix.nonblocking_writer import NonblockingWriter, reopen_nonblocking

FLUSH_TIMEOUT = 1.0
"""Seconds that the reader of stdout has to take the last output of a process that ends."""


def flush_streams() -> list[Exception]:
    """Flush all standard streams; return the exceptions of those that an app replaced."""
    return [error for stream in _streams() for error in _flush(stream, None)]


def flush_before_exit() -> list[Exception]:
    """Flush all standard streams, waiting FLUSH_TIMEOUT seconds at most for a reader.

    A process that ends must not be held up by its last output. Where a pipe or terminal cannot be
    opened again, a buffer that is larger than the room may still block. Return the exceptions.
    """
    for fd in (1, 2):
        _make_nonblocking(fd)
    deadline = monotonic() + FLUSH_TIMEOUT
    return [error for stream in _streams() for error in _flush(stream, deadline)]


def enable_line_buffering() -> None:
    """Write each printed line at once from now on, as on a terminal."""
    for stream in _streams():
        try:
            if reconfigure := _get_attribute(stream, "reconfigure"):
                reconfigure(line_buffering=True)
        except Exception:
            continue  # it is closed or detached from its buffer, so nothing is buffered


def error_stream() -> Any:
    """Return a text stream for ``wsgi.errors`` with the methods that PEP 3333 asks for.

    That is sys.stderr, or, where the app put a lesser object there, the original one, or a new one
    for descriptor 2.
    """
    needed = ("write", "writelines", "flush")
    for stream in (sys.stderr, sys.__stderr__):
        if all(_get_attribute(stream, name) for name in needed) and _is_open(stream):
            return stream
    return os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)


def ensure_standard_descriptors() -> None:
    """Open descriptors 0, 1 and 2 at /dev/null where they are closed.

    Otherwise the next socket would get that number, and the output of an app or a library would go
    there.
    """
    for fd in range(3):
        if _file_identity(fd) is None:
            # open(2) returns the lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


class StandardDescriptors:
    """A record of what descriptors 1 and 2 lead to, so that they can be replaced later."""

    def __init__(self) -> None:
        self._original = {fd: _file_identity(fd) for fd in (1, 2)}

    def replace(self, fd: int, new: int) -> bool:
        """Put ``new`` at ``fd``; return False if the app has put something of its own there.

        The app closed ``fd``, and a file or a connection of its own has that number now.
        """
        # /dev/null may be put there by this module after the app closed the descriptor.
        null = os.stat(os.devnull)
        if _file_identity(fd) not in (None, self._original[fd], (null.st_dev, null.st_ino)):
            return False
        os.dup2(new, fd)
        return True


def _streams() -> Iterator[Any]:
    """Yield each stream of sys once: the current ones, and those that Python made."""
    found = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    yield from {id(stream): stream for stream in found if stream is not None}.values()


def _flush(stream: Any, deadline: float | None) -> list[Exception]:
    """Flush one stream; return the exceptions.

    ``deadline`` (monotonic, seconds): what has no room until then is given up; None: wait.
    """
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
                # io.BufferedWriter keeps the bytes that found no room.
    except Exception as error:
        return [error]
    return []


def _get_attribute(stream: Any, name: str) -> Any:
    """Return an attribute of a stream; None if there is none, or if it raises any exception."""
    try:
        return getattr(stream, name, None)
    except Exception:
        return None


def _is_open(stream: Any) -> bool:
    """Return whether a stream is open; one whose state cannot be asked is not."""
    try:
        return not stream.closed
    except AttributeError:
        return True
    except Exception:
        return False


def _has_room(stream: Any, deadline: float) -> bool:
    """Wait for room until the deadline; return whether there is. True without a descriptor."""
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
    """Put a description that does not block in place of ``fd``, where the kernel grants one."""
    try:
        new = reopen_nonblocking(fd)
    except OSError:
        return  # the app closed it
    if not os.get_blocking(new):
        os.dup2(new, fd)
    os.close(new)
