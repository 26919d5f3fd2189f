"""The socket of systemd-journald, and whether a stream leads to the journal.

Design
------
- **The socket is connected,** so that poll(2) waits for room in the queue of journald. An
  unconnected one is always writable. systemd keeps the socket while journald restarts; if the
  socket itself was replaced, a failed write connects again.
- **A record that does not fit into a datagram travels in a sealed memfd,** as the protocol says:
  journald maps it, and the seals guarantee that it does not change meanwhile.
"""

import errno
import fcntl
import os
import socket
from collections.abc import Mapping
from select import POLLOUT, poll

JOURNAL_SOCKET = "/run/systemd/journal/socket"

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)
_REPLACED = (errno.ECONNREFUSED, errno.ENOTCONN, errno.ECONNRESET)


def is_journal_stream(environ: Mapping[str, str], fd: int) -> bool:
    """Return whether systemd connected ``fd`` to the journal, as JOURNAL_STREAM says.

    The variable has device and inode of the stream (systemd.exec(5)), so a process that inherited
    the variable, but has another stderr, does not take it for the journal.
    """
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class JournalSocket:
    """A connection to journald that does not block: the sink of a LineWriter.

    Raises OSError if journald cannot be reached.
    """

    is_pipe = False

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    @property
    def fd(self) -> int:
        """The descriptor, which is writable when journald has room."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def refresh(self) -> None:
        """Do nothing: no other file takes the descriptor's place."""

    def write(self, entry: bytes) -> int:
        """Send one entry and return its size. Raises BlockingIOError without room, OSError."""
        try:
            self._send(entry)
        except OSError as error:
            if error.errno not in _REPLACED:
                raise
            self._socket.connect(self._path)
            self._send(entry)
        return len(entry)

    def wait_writable(self, seconds: float | None) -> bool:
        """Wait until journald may have room; return False at the timeout; None: no limit."""
        poller = poll()
        poller.register(self.fd, POLLOUT)
        return bool(poller.poll(None if seconds is None else max(0.0, seconds) * 1000))

    def _send(self, entry: bytes) -> None:
        try:
            self._socket.send(entry, socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            self._send_in_memory(entry)

    def _send_in_memory(self, entry: bytes) -> None:
        """Send an entry as the descriptor of a sealed memfd, in a datagram without bytes."""
        fd = os.memfd_create("prefork-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with open(fd, "wb", buffering=0) as file:
            file.write(entry)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            socket.send_fds(self._socket, [b""], [fd])
