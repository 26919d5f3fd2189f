"""Clients that ask a server during a reload, and count the requests that were lost.

A client of the kind "keep-alive" stays on its connection as long as the server does, "new" opens
one for each request, and "300 ms" asks for a page that takes so long, on a connection that stays.
No request is repeated. A connection that the server closed while no request was on it is opened
again, as HTTP wants it (RFC 9112 section 9.3.1).
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

KINDS = ("keep-alive", "new", "300 ms")
CLIENTS = 16
"""Clients of each kind."""
PAUSE_SECONDS = 0.02
REQUEST_SECONDS = 10.0


@dataclass
class Tally:
    """The view of the clients of one kind. The names are keys of `manage.json`."""

    requests: int = 0
    lost: int = 0


@dataclass
class ReloadLoad:
    """The clients of all kinds. `pids`: the time of the last answer of each worker."""

    port: int
    tallies: dict[str, Tally] = field(default_factory=lambda: {kind: Tally() for kind in KINDS})
    pids: dict[int, float] = field(default_factory=dict)
    is_over: bool = False

    async def run(self, act: Callable[[], object]) -> None:
        """Ask from the beginning of `act`, which runs in a thread, to its end."""
        clients = [
            asyncio.create_task(self._ask_again_and_again(kind))
            for kind in KINDS
            for _ in range(CLIENTS)
        ]
        try:
            await asyncio.to_thread(act)
        finally:
            self.is_over = True
            await asyncio.gather(*clients)

    async def _ask_again_and_again(self, kind: str) -> None:
        connection: _Connection | None = None
        tally = self.tallies[kind]
        path = "/slow" if kind == "300 ms" else "/"
        while not self.is_over:
            tally.requests += 1
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    if connection is None or connection.was_closed():
                        connection = await _Connection.open(self.port)
                    pid = await connection.ask(path, closes=kind == "new")
            except (OSError, EOFError, TimeoutError, ValueError):
                tally.lost += 1
                connection = None
            else:
                self.pids[pid] = asyncio.get_running_loop().time()
                if connection.is_ending:
                    connection.close()
                    connection = None
            await asyncio.sleep(PAUSE_SECONDS)


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.is_ending = False

    @classmethod
    async def open(cls, port: int) -> _Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def was_closed(self) -> bool:
        """Return whether the server has closed it; the loop may not have looked yet."""
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    async def ask(self, path: str, closes: bool) -> int:
        """Send a request and return the pid in the answer. Raises OSError, EOFError, ValueError."""
        extra = "Connection: close\r\n" if closes else ""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n{extra}\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200 "):
            raise ValueError(head)
        self.is_ending = closes or b"connection: close" in head
        return int(await self._read_body(head))

    async def _read_body(self, head: bytes) -> bytes:
        if b"transfer-encoding: chunked" not in head:
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            return await self._reader.readexactly(int(length))
        body = b""
        while size := int(await self._reader.readline(), 16):
            body += await self._reader.readexactly(size)
            await self._reader.readline()
        await self._reader.readline()
        return body

    def close(self) -> None:
        with suppress(OSError):
            self._writer.close()
