"""Writing to a descriptor without waiting for its reader: pipes, fifos, terminals, sockets, files.

O_NONBLOCK belongs to the open file description (open(2)), which inherited stdout and stderr share
with the shell and with every process that writes there. Setting it on them would make those
processes fail. So a pipe or a terminal is opened anew through /proc/self/fd, with a description of
its own; a socket, which cannot be opened anew, is written with MSG_DONTWAIT; a regular file does
not block for a reader. Opening anew fails with EACCES after a change of user (a pipe belongs to the
user that made it, mode 0600; a container runtime makes it as root) and with ENXIO while a fifo has
no reader. Then a pipe is filled by splice(2), which has a flag of its own, and a terminal is
written in small pieces after poll(2). Of these only the last can block, when another process takes
the room between the two calls.
"""

import ctypes
import errno
import fcntl
import os
import socket
import stat
import struct
import time
from collections.abc import Callable
from select import PIPE_BUF, POLLOUT, poll

from prefork.printable import printable_text

TIOCGDEV = 0x80045432
"""The device number of a terminal, also behind /dev/tty (ioctl_tty(2))."""

TERMINAL_PIECE = 64
"""Bytes that are written at once to a terminal that may block."""

STDERR_TIMEOUT = 2.0
"""Seconds."""

_OPEN_FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class NonblockingWriter:
    """The ways of writing to one descriptor, which stays the caller's. ``is_pipe``: several
    processes may write there, and only writes of up to PIPE_BUF bytes stay whole (pipe(7))."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.is_pipe = False
        self._write: Callable[[int, bytes], int] = os.write
        self.refresh()

    def refresh(self) -> None:
        """Look at the descriptor again, after another file took its place. One that is closed is
        left to ``write`` to complain about."""
        try:
            mode = os.fstat(self.fd).st_mode
            self._write = _choose_write(self.fd, mode)
            self.is_pipe = stat.S_ISFIFO(mode)
        except OSError:
            self._write, self.is_pipe = os.write, False

    def write(self, data: bytes) -> int:
        """How many bytes were taken. Raises BlockingIOError when there is no room now, OSError when
        the reader is gone or the disk is full."""
        return self._write(self.fd, data)

    def wait_writable(self, seconds: float | None) -> bool:
        """Wait until there may be room, or the reader is gone; None: without end. False: the time
        is over."""
        poller = poll()
        poller.register(self.fd, POLLOUT)
        return bool(poller.poll(None if seconds is None else max(0.0, seconds) * 1000))


def reopen_nonblocking(fd: int) -> int:
    """A descriptor for what ``fd`` leads to, that is the caller's to close and does not block where
    the kernel grants a description of its own. Raises OSError when ``fd`` is closed."""
    mode = os.fstat(fd).st_mode
    terminal = os.isatty(fd)
    if stat.S_ISFIFO(mode) or terminal:
        # /dev/tty may be opened by every process on that terminal, also after su(1).
        for path in (f"/proc/self/fd/{fd}", *(["/dev/tty"] if terminal else [])):
            try:
                new = os.open(path, _OPEN_FLAGS)
            except OSError:
                continue  # the next way, or a copy that shares the description
            if _is_same_file(fd, new, terminal):
                return new
            os.close(new)
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def write_with_timeout(fd: int, data: bytes, timeout: float = 0.0) -> int:
    """Write as much of ``data`` as is taken within ``patience`` seconds; how many bytes those are.
    A reader that is gone takes none."""
    sink, remaining, deadline = NonblockingWriter(fd), data, time.monotonic() + timeout
    while remaining:
        try:
            remaining = remaining[sink.write(remaining) :]
        except BlockingIOError:
            if not sink.wait_writable(deadline - time.monotonic()):
                break
        except OSError:
            break
    return len(data) - len(remaining)


def print_to_stderr(text: str) -> None:
    """Tell a person something on stderr, before the end of a process. A pipe that nothing reads
    holds it up for LAST_WORDS seconds only. No text acts on a terminal."""
    if os.isatty(2):
        text = printable_text(text)
    write_with_timeout(2, f"{text}\n".encode("utf-8", "backslashreplace"), STDERR_TIMEOUT)


def _is_same_file(fd: int, new: int, terminal: bool) -> bool:
    if terminal:
        return _terminal_device(fd) == _terminal_device(new)
    return os.path.samestat(os.fstat(fd), os.fstat(new))


def _terminal_device(fd: int) -> int | None:
    try:
        number: int = struct.unpack("I", fcntl.ioctl(fd, TIOCGDEV, bytes(4)))[0]
    except OSError:
        return os.fstat(fd).st_rdev
    return number


def _choose_write(fd: int, mode: int) -> Callable[[int, bytes], int]:
    if stat.S_ISSOCK(mode):
        return _send
    if stat.S_ISREG(mode) or not os.get_blocking(fd):
        return os.write
    if stat.S_ISFIFO(mode):
        return _splice
    return _write_when_ready if os.isatty(fd) else os.write


_libc = ctypes.CDLL(None, use_errno=True)
_libc.send.restype = ctypes.c_ssize_t


def _send(fd: int, data: bytes) -> int:
    # A socket object would put its own idea of blocking on the shared description.
    flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
    taken: int = _libc.send(fd, data, ctypes.c_size_t(len(data)), flags)
    if taken < 0:
        why = ctypes.get_errno()
        raise OSError(why, os.strerror(why))  # BlockingIOError for EAGAIN
    return taken


def _splice(fd: int, data: bytes) -> int:
    """By way of a pipe of our own, made for each piece, so that no fork shares it."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        size = os.write(writer, data[:PIPE_BUF])
        return os.splice(reader, fd, size, flags=os.SPLICE_F_NONBLOCK)
    finally:
        os.close(reader)
        os.close(writer)


def _write_when_ready(fd: int, data: bytes) -> int:
    poller = poll()
    poller.register(fd, POLLOUT)
    if not poller.poll(0):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return os.write(fd, data[:TERMINAL_PIECE])
