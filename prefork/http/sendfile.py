"""Send files as response bodies, by sendfile(2) where that is possible.

With TLS, with chunked encoding and on file systems without sendfile the file is read and sent in
pieces.

Design
------
- **The file bypasses the transport, by os.sendfile on the socket.** uvloop has no
  ``loop.sendfile``. This is correct while the transport has nothing to send: its buffer is emptied
  first, and from then on the connection writes nothing, because an exchange is answered before the
  next one begins.
- **The wait for a slow client looks to the connection like a full transport,** so timeouts,
  disconnects and drain work as for every other response.
- **Up to 64 KB the file is read** and leaves in one write with the response head.
- **Cost over loopback:** 1 MB costs 240 µs of CPU by sendfile and 250 µs read in blocks. Nearly
  all of it is spent in the kernel, which copies to the reader either way. sendfile saves user time
  (20 µs instead of 40) and memory, and a copy on a real network.
- **A file on a cold disk blocks the loop for a moment** either way, as in every server with an
  event loop.
"""

import asyncio
import errno
import os

from prefork.errors import ClientGoneError
from prefork.http.exchange import Exchange
from prefork.http.response_head import ResponseError
from prefork.plural import pluralize

MAX_READ_SIZE = 64 * 1024
"""Bytes up to which a file is read and sent in one write with the response head."""

MAX_SENDFILE_SIZE = 1024 * 1024
"""Bytes that one sendfile call may send before the other connections get their turn."""

_READ_SIZE = 64 * 1024
_DISCONNECT_ERRORS = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT})
_UNSUPPORTED_ERRORS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


async def send_file(exchange: Exchange, fd: int, offset: int, count: int) -> None:
    """Send ``count`` bytes of a file from ``offset`` on, as the body of a response that was started
    or as a piece of it.

    Returns when all bytes are with the kernel or the transport. Raises ClientGoneError when the
    client disconnects, ResponseError when the file is too short, and OSError.
    """
    if exchange.is_bodiless:
        exchange.send_headers()
    elif count <= MAX_READ_SIZE:
        exchange.send(_read(fd, offset, count))
    elif exchange.is_chunked or exchange.connection.peer.tls is not None:
        await _copy(exchange, fd, offset, count)
    else:
        await _FileTransfer(exchange, fd, offset, count).run()


async def send_file_until_eof(exchange: Exchange, fd: int, offset: int) -> None:
    """Send a file of unknown size from ``offset`` on as the body of a response that was started.

    It is sent in pieces until the file ends or the response has its Content-Length. Raises
    ClientGoneError when the client disconnects, ResponseError, and OSError.
    """
    exchange.send_headers()
    while not exchange.is_bodiless and exchange.remaining != 0:
        wanted = _READ_SIZE if exchange.remaining is None else min(_READ_SIZE, exchange.remaining)
        piece = os.pread(fd, wanted, offset)
        if not piece:
            return
        exchange.send(piece)
        offset += len(piece)
        await exchange.connection.flow.wait_for_turn()


def remaining_file_size(fd: int, offset: int) -> int | None:
    """Return the bytes of a regular file from ``offset`` on; None when its size is not reliable.

    Files below /proc report a size of 0, those below /sys the size of a page, and neither occupies
    blocks (proc(5), sysfs(5)). An empty file and a small file without blocks are therefore read
    once: some file systems keep small files in their inode, and a sparse file has no blocks either.
    """
    found = os.fstat(fd)
    size = max(found.st_size - offset, 0)
    is_unreliable = not found.st_size or (not found.st_blocks and size <= MAX_READ_SIZE)
    if is_unreliable and len(os.pread(fd, size + 1, offset)) != size:
        return None
    return size


def _read(fd: int, offset: int, count: int) -> bytes:
    data = os.pread(fd, count, offset)
    if len(data) < count:
        raise _file_too_short(count - len(data))
    return data


def _file_too_short(missing: int) -> ResponseError:
    return ResponseError(f"the file ended {pluralize(missing, 'byte')} before its Content-Length")


async def _copy(exchange: Exchange, fd: int, offset: int, count: int) -> None:
    end = offset + count
    while offset < end:
        piece = _read(fd, offset, min(end - offset, _READ_SIZE))
        exchange.send(piece)
        offset += len(piece)
        await exchange.connection.flow.wait_for_turn()


class _FileTransfer:
    """The transfer of one file by sendfile(2)."""

    def __init__(self, exchange: Exchange, fd: int, offset: int, count: int) -> None:
        self._exchange = exchange
        self._connection = exchange.connection
        self._transport = exchange.connection.transport
        self._fd = fd
        self._offset = offset
        self._remaining = count
        self._watched_fd = -1
        """A duplicate of the socket's descriptor, -1 for none: an event loop does not let callers
        watch the descriptor of a transport."""

    async def run(self) -> None:
        """Send the file; return when all bytes are with the kernel."""
        self._exchange.send_headers()
        await self._connection.flow.flush()
        try:
            while self._remaining:
                await self._send_some()
        finally:
            if self._watched_fd >= 0:
                self._connection.server.loop.remove_writer(self._watched_fd)
                os.close(self._watched_fd)

    async def _send_some(self) -> None:
        """Send as much as the socket takes, at most MAX_SENDFILE_SIZE, then wait for it to take
        more."""
        if self._exchange.disconnected or self._transport.is_closing():
            raise ClientGoneError("the client left before the response ended")
        sock = self._transport.get_extra_info("socket").fileno()
        wanted = min(self._remaining, MAX_SENDFILE_SIZE)
        try:
            sent = os.sendfile(sock, self._fd, self._offset, wanted)
        except BlockingIOError:
            sent = -1  # the socket's buffer is full; 0 would mean the end of the file
        except OSError as error:
            if error.errno in _DISCONNECT_ERRORS:
                raise ClientGoneError("the client left before the response ended") from None
            if error.errno not in _UNSUPPORTED_ERRORS:
                raise
            # The file system has no sendfile: read and send the rest.
            await _copy(self._exchange, self._fd, self._offset, self._remaining)
            self._remaining = 0
            return
        if sent == 0:
            raise _file_too_short(self._remaining)
        if sent > 0:
            self._exchange.count_body_bytes(sent)
            self._offset += sent
            self._remaining -= sent
        if sent < wanted:
            await self._wait_until_writable(sock)
        elif self._remaining:
            await asyncio.sleep(0)

    async def _wait_until_writable(self, sock: int) -> None:
        """Wait until the socket is writable.

        The connection sees a full transport meanwhile, and applies its send timeout.
        """
        connection = self._connection
        if self._watched_fd < 0:
            self._watched_fd = os.dup(sock)
            connection.server.loop.add_writer(self._watched_fd, connection.resume_writing)
        connection.pause_writing()
        waiter = connection.flow.waiter()
        if waiter is not None:
            await waiter
