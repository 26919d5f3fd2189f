"""A lower bound for servers on uvloop and httptools: it answers every request with the same bytes.

It calls no application and builds no response, so no server on these two libraries can use less CPU
time per request. Run as `python floor.py PORT LOAD`; under the load `hello-connect` it closes each
connection after its answer. SIGTERM ends it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import httptools
import uvloop

ANSWER = (
    b"HTTP/1.1 200 OK\r\n"
    b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    b"Content-Type: text/plain\r\n"
    b"Content-Length: 13\r\n"
    b"\r\n"
    b"Hello, world!"
)
LAST_ANSWER = ANSWER.replace(b"Content-Type", b"Connection: close\r\nContent-Type")


class Canned(asyncio.Protocol):
    """One connection; the parser's callback for a complete request writes the constant answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's class does not inherit it
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_message_complete(self) -> None:
        self._headers = []
        self._transport.write(ANSWER)


class CannedOnce(Canned):
    """One connection that is closed after its first answer."""

    def on_message_complete(self) -> None:
        self._transport.write(LAST_ANSWER)
        self._transport.close()


async def serve(port: int, protocol: type[Canned]) -> None:
    """Listen on 127.0.0.1 and serve until the process is terminated."""
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    once = sys.argv[2] == "hello-connect"
    uvloop.run(serve(int(sys.argv[1]), CannedOnce if once else Canned))
