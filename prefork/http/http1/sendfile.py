"""Send files by sendfile(2): the bytes go from the file to the socket without passing the process.

With TLS, with chunked encoding and on file systems without sendfile the file is read and sent in
pieces instead (response_files.py).

Design
------
- **The file bypasses the transport, by os.sendfile on the socket.** uvloop has no
  ``loop.sendfile``. This is correct while the transport has nothing to send: its buffer is emptied
  first, and from then on the connection writes nothing, because an exchange is answered before the
  next one begins.
- **The wait for a slow client looks to the connection like a full transport,** so timeouts,
  disconnects and drain work as for every other response.
- **Cost over loopback:** 1 MB costs 240 µs of CPU by sendfile and 250 µs read in blocks. Nearly
  all of it is spent in the kernel, which copies to the reader either way. sendfile saves user time
  (20 µs instead of 40) and memory, and a copy on a real network.
"""

import asyncio
import errno
import os

from prefork.errors import ClientGoneError
from prefork.http.exchange import Exchange
from prefork.http.flow_control import FlowControl

MAX_SENDFILE_SIZE = 1024 * 1024
"""Bytes that one sendfile call may send before the other connections get their turn."""

_DISCONNECT_ERRORS = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT})
_UNSUPPORTED_ERRORS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


class FileTransfer:
    """The transfer of one file."""

    def __init__(self, exchange: Exchange, transport: asyncio.Transport, flow: FlowControl) -> None:
        self._exchange = exchange
        self._transport = transport
        self._flow = flow
        self._loop = exchange.connection.server.loop
        self._watched_fd = -1
        """A duplicate of the socket's descriptor, -1 for none: an event loop does not let callers
        watch the descriptor of a transport."""

    async def send(self, fd: int, offset: int, count: int) -> int:
        """Send ``count`` bytes of a file from ``offset`` on; return when they are with the kernel.

        Returns how many were sent. They are fewer when the file has ended, or its file system has
        no sendfile. Raises ClientGoneError, ResponseError and OSError.
        """
        self._exchange.send_headers()
        await self._flow.flush()
        sent = 0
        try:
            while sent < count:
                wanted = min(count - sent, MAX_SENDFILE_SIZE)
                size = self._send_some(fd, offset + sent, wanted)
                if size == 0:
                    break
                sent += max(size, 0)
                if size < wanted:
                    await self._wait_until_writable()
                elif sent < count:
                    await asyncio.sleep(0)
        finally:
            if self._watched_fd >= 0:
                self._loop.remove_writer(self._watched_fd)
                os.close(self._watched_fd)
        return sent

    def _socket_fd(self) -> int:
        return int(self._transport.get_extra_info("socket").fileno())

    def _send_some(self, fd: int, offset: int, wanted: int) -> int:
        """Send as much as the socket takes, at most ``wanted``; return how much that was.

        -1: the buffer of the socket is full. 0: no more can be sent so.
        """
        if self._exchange.disconnected or self._transport.is_closing():
            raise ClientGoneError("the client left before the response ended")
        try:
            size = os.sendfile(self._socket_fd(), fd, offset, wanted)
        except BlockingIOError:
            return -1
        except OSError as error:
            if error.errno in _DISCONNECT_ERRORS:
                raise ClientGoneError("the client left before the response ended") from None
            if error.errno not in _UNSUPPORTED_ERRORS:
                raise
            return 0
        self._exchange.count_body_bytes(size)
        return size

    async def _wait_until_writable(self) -> None:
        """Wait until the socket is writable.

        The connection sees a full transport meanwhile, and applies its send timeout.
        """
        protocol = self._transport.get_protocol()
        if self._watched_fd < 0:
            self._watched_fd = os.dup(self._socket_fd())
            self._loop.add_writer(self._watched_fd, protocol.resume_writing)
        protocol.pause_writing()
        waiter = self._flow.waiter()
        if waiter is not None:
            await waiter
