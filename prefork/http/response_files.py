"""Send files as bodies of responses, whatever their framing.

A sink may have a way to send a file without reading it (sendfile.py); what it does not send so is
read and sent in pieces.

Design
------
- **Up to 64 KB the file is read** and leaves in one write with the response head.
- **A file on a cold disk blocks the loop for a moment** either way, as in every server with an
  event loop.
"""

import os

from prefork.http.exchange import Exchange
from prefork.http.response_head import ResponseError
from prefork.plural import pluralize

MAX_READ_SIZE = 64 * 1024
"""Bytes up to which a file is read and sent in one write with the response head."""

_READ_SIZE = 64 * 1024


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
    else:
        sent = await exchange.sink.send_file(exchange, fd, offset, count)
        await _copy(exchange, fd, offset + sent, count - sent)


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
        await exchange.sink.flow.wait_for_turn()


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
        missing = pluralize(count - len(data), "byte")
        raise ResponseError(f"the file ended {missing} before its Content-Length")
    return data


async def _copy(exchange: Exchange, fd: int, offset: int, count: int) -> None:
    end = offset + count
    while offset < end:
        piece = _read(fd, offset, min(end - offset, _READ_SIZE))
        exchange.send(piece)
        offset += len(piece)
        await exchange.sink.flow.wait_for_turn()
