"""A file to a client: by sendfile(2), so that its bytes never pass through Python.

uvloop has no ``loop.sendfile``, so this goes to the socket itself, beside the transport. That is
right only while the transport has nothing of its own to send; from then on nobody writes to it,
because an exchange is answered before the next one begins. Where sendfile cannot go (TLS, a body in
chunks, a file system without it) the file is read and sent in pieces. Reading a file from a cold
disk blocks the loop for a moment either way, as it does in every server that has one.
"""

import asyncio
import errno
import os

from prefork.errors import ClientGoneError
from prefork.http.exchange import ClientConnection, Exchange
from prefork.http.response_head import ResponseError
from prefork.plural import pluralize

SMALL = 64 * 1024
"""A file up to here is read, and goes out in one write with its head."""

TURN = 1024 * 1024
"""Bytes that may be sent before the other connections get their turn."""

_PIECE = 64 * 1024
_CLIENT_LEFT = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT})
_UNSUITABLE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


async def send_file(exchange: Exchange, fd: int, offset: int, count: int) -> None:
    """Send so much of a file as the body of a response that was started, or as a piece of it.

    Raises ClientGoneError, ResponseError when the file is too short, and OSError.
    """
    if exchange.is_bodiless:
        exchange.send_headers()
    elif count <= SMALL:
        exchange.send(_read(fd, offset, count))
    elif exchange.is_chunked or exchange.connection.peer.tls is not None:
        await _copy(exchange, fd, offset, count)
    else:
        await _FileTransfer(exchange, fd, offset, count).run()


async def send_file_until_eof(exchange: Exchange, fd: int, offset: int) -> None:
    """Send a file that does not say its size, as the body of a response that was started: in
    pieces until the file ends, or until the response has its Content-Length.

    Raises ClientGoneError, ResponseError, and OSError.
    """
    exchange.send_headers()
    while not exchange.is_bodiless and exchange.remaining != 0:
        wanted = _PIECE if exchange.remaining is None else min(_PIECE, exchange.remaining)
        piece = os.pread(fd, wanted, offset)
        if not piece:
            return
        exchange.send(piece)
        offset += len(piece)
        await drained(exchange.connection)


def remaining_file_size(fd: int, offset: int) -> int | None:
    """Count the bytes of a regular file from an offset on; None when the file does not say.

    Files below /proc have a size of 0, those below /sys one of a page, and neither occupies blocks
    (proc(5), sysfs(5)). An empty file, and a small one without blocks, is therefore read once: some
    file systems keep small files in their inode, and a sparse file has no blocks either.
    """
    found = os.fstat(fd)
    size = max(found.st_size - offset, 0)
    doubtful = not found.st_size or (not found.st_blocks and size <= SMALL)
    if doubtful and len(os.pread(fd, size + 1, offset)) != size:
        return None
    return size


def _read(fd: int, offset: int, count: int) -> bytes:
    data = os.pread(fd, count, offset)
    if len(data) < count:
        raise _too_short(count - len(data))
    return data


def _too_short(missing: int) -> ResponseError:
    return ResponseError(f"the file ended {pluralize(missing, 'byte')} before its Content-Length")


async def _copy(exchange: Exchange, fd: int, offset: int, count: int) -> None:
    end = offset + count
    while offset < end:
        piece = _read(fd, offset, min(end - offset, _PIECE))
        exchange.send(piece)
        offset += len(piece)
        await drained(exchange.connection)


async def drained(connection: ClientConnection) -> None:
    """Wait until the client has caught up; at least let the others have a turn."""
    blocked = connection.writable_waiter()
    if blocked is not None:
        await blocked
    else:
        await asyncio.sleep(0)


class _FileTransfer:
    """One file on its way."""

    def __init__(self, exchange: Exchange, fd: int, offset: int, count: int) -> None:
        self._exchange = exchange
        self._connection = exchange.connection
        self._transport = exchange.connection.transport
        self._fd = fd
        self._offset = offset
        self._left = count
        self._watched = -1
        """A copy of the socket's descriptor: a loop does not let a transport's own be watched."""

    async def run(self) -> None:
        """Until all is with the kernel."""
        self._exchange.send_headers()
        await self._empty_transport()
        try:
            while self._left:
                await self._turn()
        finally:
            if self._watched >= 0:
                self._connection.server.loop.remove_writer(self._watched)
                os.close(self._watched)

    async def _empty_transport(self) -> None:
        """What was written before goes out before."""
        transport = self._transport
        if transport.get_write_buffer_size() and not transport.is_closing():
            transport.set_write_buffer_limits(0)
            while (blocked := self._connection.writable_waiter()) is not None:
                await blocked
            if not transport.is_closing():
                transport.set_write_buffer_limits()

    async def _turn(self) -> None:
        if self._exchange.disconnected or self._transport.is_closing():
            raise ClientGoneError("the client left before the response ended")
        sock = self._transport.get_extra_info("socket").fileno()
        wanted = min(self._left, TURN)
        try:
            sent = os.sendfile(sock, self._fd, self._offset, wanted)
        except BlockingIOError:
            sent = -1
        except OSError as error:
            if error.errno in _CLIENT_LEFT:
                raise ClientGoneError("the client left before the response ended") from None
            if error.errno not in _UNSUITABLE:
                raise
            await _copy(self._exchange, self._fd, self._offset, self._left)
            self._left = 0
            return
        if sent == 0:
            raise _too_short(self._left)
        if sent > 0:
            self._exchange.count_body_bytes(sent)
            self._offset += sent
            self._left -= sent
        if sent < wanted:
            await self._writable(sock)
        elif self._left:
            await asyncio.sleep(0)

    async def _writable(self, sock: int) -> None:
        """Wait as for a transport that is full: the send timeout and the end of the connection
        are the connection's business."""
        connection = self._connection
        if self._watched < 0:
            self._watched = os.dup(sock)
            connection.server.loop.add_writer(self._watched, connection.resume_writing)
        connection.pause_writing()
        blocked = connection.writable_waiter()
        if blocked is not None:
            await blocked
