"""Write to a descriptor without waiting for its reader: pipes, fifos, terminals, sockets, files.

Design
------
No process of prefork waits for the reader of a log. O_NONBLOCK cannot simply be set on stdout and
stderr: it belongs to the open file description (open(2)), which the shell and every other process
that writes there share, and their writes would fail. So each kind of file has its own way:

- **A pipe or a terminal** is opened again through /proc/self/fd, which makes a description of its
  own.
- **A socket,** which cannot be opened again, is written with MSG_DONTWAIT.
- **A pipe of another user** (a container runtime creates it as root, with mode 0600) cannot be
  opened again: EACCES. A fifo without a reader fails with ENXIO. Both are filled by splice(2),
  which has a flag of its own.
- **A terminal of another user** is opened through /dev/tty. One that is not the controlling
  terminal either is written in small pieces after poll(2). Only this case can block, when another
  process takes the room between the two calls.
- **A regular file** does not block for a reader.

Rejected: pwritev2(2) with RWF_NOWAIT for pipes; the kernels that matter answer EOPNOTSUPP.
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
"""The ioctl for the device number of a terminal, also of the one behind /dev/tty (ioctl_tty(2))."""

TERMINAL_PIECE = 64
"""Bytes of one write to a terminal that may block."""

STDERR_TIMEOUT = 2.0
"""Seconds that an ending process waits for the reader of stderr."""

_OPEN_FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class NonblockingWriter:
    """A writer for one descriptor, which the caller keeps and closes.

    ``is_pipe``: other processes may write to the same pipe, and only writes of up to PIPE_BUF bytes
    stay whole (pipe(7)).
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.is_pipe = False
        self._write: Callable[[int, bytes], int] = os.write
        self.refresh()

    def refresh(self) -> None:
        """Choose the way of writing again, after another file took the descriptor's place.

        A descriptor that is closed is no error here; ``write`` raises it.
        """
        try:
            mode = os.fstat(self.fd).st_mode
            self._write = _choose_write(self.fd, mode)
            self.is_pipe = stat.S_ISFIFO(mode)
        except OSError:
            self._write, self.is_pipe = os.write, False

    def write(self, data: bytes) -> int:
        """Write what there is room for; return how many bytes were taken.

        Raises BlockingIOError when there is no room now, OSError when the reader is gone or the
        disk is full.
        """
        return self._write(self.fd, data)

    def wait_writable(self, seconds: float | None) -> bool:
        """Wait until there may be room, or until the reader is gone; return False at the timeout.

        None waits without end.
        """
        poller = poll()
        poller.register(self.fd, POLLOUT)
        return bool(poller.poll(None if seconds is None else max(0.0, seconds) * 1000))


def reopen_nonblocking(fd: int) -> int:
    """Return a new descriptor for the same file that does not block; the caller closes it.

    Where the kernel grants no description of its own it is a duplicate that may block. Raises
    OSError when ``fd`` is closed.
    """
    mode = os.fstat(fd).st_mode
    terminal = os.isatty(fd)
    if stat.S_ISFIFO(mode) or terminal:
        # Every process on a terminal may open /dev/tty, also after su(1). That may be another
        # terminal than the one at ``fd``, hence the comparison of devices.
        for path in (f"/proc/self/fd/{fd}", *(["/dev/tty"] if terminal else [])):
            try:
                new = os.open(path, _OPEN_FLAGS)
            except OSError:
                continue  # try the next path, or end with a duplicate
            if _is_same_file(fd, new, terminal):
                return new
            os.close(new)
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def write_with_timeout(fd: int, data: bytes, timeout: float = 0.0) -> int:
    """Write as much of ``data`` as is taken within ``timeout`` seconds; return how many bytes.

    A reader that is gone takes none.
    """
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
    """Print a line on stderr before the end of a process, escaped if stderr is a terminal.

    A pipe that no process reads delays it for STDERR_TIMEOUT seconds at most.
    """
    if os.isatty(2):
        text = printable_text(text)
    write_with_timeout(2, f"{text}\n".encode("utf-8", "backslashreplace"), STDERR_TIMEOUT)


def _is_same_file(fd: int, new: int, terminal: bool) -> bool:
    """Return whether two descriptors lead to the same file or terminal."""
    if terminal:
        return _terminal_device(fd) == _terminal_device(new)
    return os.path.samestat(os.fstat(fd), os.fstat(new))


def _terminal_device(fd: int) -> int | None:
    """Return the device number of a terminal."""
    try:
        number: int = struct.unpack("I", fcntl.ioctl(fd, TIOCGDEV, bytes(4)))[0]
    except OSError:
        return os.fstat(fd).st_rdev
    return number


def _choose_write(fd: int, mode: int) -> Callable[[int, bytes], int]:
    """Choose the write function for a descriptor of this mode."""
    if stat.S_ISSOCK(mode):
        return _send
    if stat.S_ISREG(mode) or not os.get_blocking(fd):
        return os.write  # a plain write(2) does not wait for a reader
    if stat.S_ISFIFO(mode):
        return _splice
    return _write_when_ready if os.isatty(fd) else os.write


_libc = ctypes.CDLL(None, use_errno=True)
_libc.send.restype = ctypes.c_ssize_t


def _send(fd: int, data: bytes) -> int:
    # No socket object: it would set its own O_NONBLOCK on the shared description.
    flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
    taken: int = _libc.send(fd, data, ctypes.c_size_t(len(data)), flags)
    if taken < 0:
        why = ctypes.get_errno()
        raise OSError(why, os.strerror(why))  # BlockingIOError for EAGAIN
    return taken


def _splice(fd: int, data: bytes) -> int:
    """Write up to PIPE_BUF bytes into a pipe that may block, by splice(2) from a pipe of its own.

    That pipe is made anew for each write, so that no forked child shares it.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        size = os.write(writer, data[:PIPE_BUF])
        return os.splice(reader, fd, size, flags=os.SPLICE_F_NONBLOCK)
    finally:
        os.close(reader)
        os.close(writer)


def _write_when_ready(fd: int, data: bytes) -> int:
    """Write a small piece to a terminal if poll(2) says that there is room."""
    poller = poll()
    poller.register(fd, POLLOUT)
    if not poller.poll(0):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return os.write(fd, data[:TERMINAL_PIECE])
