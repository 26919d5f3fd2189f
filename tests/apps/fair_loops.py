"""``main`` in event loops, in each way that apps accept by.

All answer ``/SECONDS`` with their pid, after so many seconds.
"""

import asyncio
import os
from typing import Any

import uvloop


def _answer() -> bytes:
    body = b"%d" % os.getpid()
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nDate: now\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(float(head.split(b" ")[1].strip(b"/") or 0))
    writer.write(_answer())
    writer.close()


class _Protocol(asyncio.Protocol):
    """A protocol as the servers of frameworks have it."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(float(data.split(b" ")[1].strip(b"/") or 0), self._finish)

    def _finish(self) -> None:
        self._transport.write(_answer())
        self._transport.close()


async def streams(listener: Any) -> None:
    """``asyncio.start_server``."""
    async with await asyncio.start_server(_talk, sock=listener) as server:
        await server.serve_forever()


async def protocols(listener: Any) -> None:
    """``loop.create_server``, begun later; as uvicorn's and aiohttp's servers do it."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Protocol, sock=listener, backlog=100, start_serving=False)
    assert not server.is_serving()
    await server.start_serving()
    assert server.is_serving()
    assert server.sockets[0].getsockname() == listener.getsockname()
    try:
        await asyncio.Event().wait()
    finally:
        server.close()
        await server.wait_closed()
        assert not server.sockets


async def accepts(listener: Any) -> None:
    """``loop.sock_accept``."""
    loop = asyncio.get_running_loop()
    talks = set()
    while True:
        connection, _ = await loop.sock_accept(listener)
        talk = loop.create_task(_adopt(connection))
        talks.add(talk)
        talk.add_done_callback(talks.discard)


async def _adopt(connection: Any) -> None:
    await _talk(*await asyncio.open_connection(sock=connection))


def in_asyncio(listener: Any) -> None:
    """A plain main with asyncio's own loop."""
    asyncio.run(streams(listener), debug=False)


def in_uvloop(listener: Any) -> None:
    """A plain main with a uvloop of its own."""
    uvloop.run(protocols(listener))
