"""Clients that keep a server busy, in a process of their own.

A test that shared its interpreter with the clients would measure its own pauses. There are two
kinds of clients: *keep* clients stay on one connection until the server says ``Connection: close``,
*fresh* clients connect anew for each request. Each response has to be complete, to have status 200,
and to come from one version of the app and one worker. Everything else is a failure, and no request
is repeated. Only a connection that was closed while no request was on it is opened again, as HTTP
wants it (RFC 9112 section 9.3.1).

The parent tells the clients which phase of the test has begun. A request belongs to the phase in
which it began, so "only the new version from now on" is a question about one phase.

The app has to answer with its version and its pid, ``BODY_WORDS`` times (``app_sources.py``).
"""

import argparse
import asyncio
import json
import os
import random
import select
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop

BODY_WORDS = 64
REQUEST_TIMEOUT = 15.0
ROOT = Path(__file__).parents[2]


@dataclass
class Phase:
    """The view of the clients of requests that began in a phase. ``slowest``: seconds from the
    beginning of a request, connecting included, to its end. ``gap``: longest time in seconds
    without a response."""

    name: str
    requests: int = 0
    slowest: float = 0.0
    gap: float = 0.0
    versions: dict[str, int] = field(default_factory=dict)


@dataclass
class Failure:
    """A request that was not answered as it should be. ``pid``: the worker that served the
    connection before."""

    kind: str
    what: str
    phase: str
    pid: int
    began: float
    ended: float


@dataclass
class Report:
    """All phases and failures. Times are monotonic, which is one clock for all processes."""

    phases: list[Phase]
    failures: list[Failure]

    def phase(self, name: str) -> Phase:
        """Return the phase of this name."""
        return next(phase for phase in self.phases if phase.name == name)

    @property
    def requests(self) -> int:
        """How many requests were answered well."""
        return sum(phase.requests for phase in self.phases)

    def __str__(self) -> str:
        lines = [
            f"{p.name}: {p.requests} requests, slowest {p.slowest * 1000:.0f} ms, "
            f"gap {p.gap * 1000:.0f} ms"
            for p in self.phases
        ]
        lines += [f"FAILED {failure}" for failure in self.failures[:20]]
        return "\n".join([*lines, f"{len(self.failures)} failed"])


class LoadGenerator:
    """The parent's handle of the process with the clients."""

    def __init__(self, port: int, keep: int, fresh: int, pause: float, ca: str) -> None:
        words = [str(word) for word in (port, keep, fresh, pause, ca)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.live.client_load", *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._report: Report | None = None
        self.wait_served(1)

    def _ask(self, *words: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the clients died"
        return dict(json.loads(answer))

    def begin_phase(self, phase: str) -> None:
        """Begin a phase: requests belong to it from now on."""
        self._ask("mark", phase)

    def wait_served(self, count: int) -> None:
        """Wait until ``count`` more requests were answered, or failed."""
        self._ask("served", count)

    def run_phase(self, phase: str, count: int) -> None:
        """Begin a phase and wait for ``count`` requests."""
        self.begin_phase(phase)
        self.wait_served(count)

    def stop(self) -> Report:
        """Let each client finish its request and leave, and return the report."""
        if self._report is None:
            raw = self._ask("stop")
            self._process.wait(REQUEST_TIMEOUT)
            phases = [Phase(**phase) for phase in raw["phases"]]
            self._report = Report(phases, [Failure(**failure) for failure in raw["failures"]])
        return self._report

    def destroy(self) -> None:
        """Kill the process of the clients."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass


@contextmanager
def client_load(
    port: int, keep: int = 32, fresh: int = 32, pause: float = 0.04, ca: str = ""
) -> Iterator[LoadGenerator]:
    """Run clients; each pauses between two requests, for ``pause`` seconds on average.

    ``ca``: a file with the authority that they trust; with it they speak TLS.
    """
    clients = LoadGenerator(port, keep, fresh, pause, ca)
    try:
        yield clients
    finally:
        clients.destroy()


# In the process of the clients.


class _WrongAnswerError(Exception):
    pass


class _Clients:
    def __init__(self, port: int, pause: float, tls: ssl.SSLContext | None) -> None:
        self.port = port
        self.pause = pause
        self.tls = tls
        self.phases = [Phase("start")]
        self.failures: list[Failure] = []
        self.finished = 0
        self.leaving = False
        self._last_answer = 0.0
        self._news = asyncio.Condition()

    async def serve_parent(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            word, *rest = json.loads(line)
            if word == "mark":
                self.phases.append(Phase(rest[0]))
            elif word == "served":
                wanted = self.finished + rest[0]
                async with self._news:
                    await self._news.wait_for(lambda wanted=wanted: self.finished >= wanted)
            else:
                self.leaving = True
                return
            print("{}", flush=True)
        self.leaving = True

    async def ask(self, kind: str, pid: int, exchange: Callable[[], Awaitable[int]]) -> int:
        """Do one request and record it. Return the pid that answered, or 0 when it failed."""
        phase, began = self.phases[-1], time.monotonic()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                answered = await exchange()
        except (OSError, EOFError, TimeoutError, _WrongAnswerError) as error:
            ended = time.monotonic()
            self.failures.append(Failure(kind, repr(error), phase.name, pid, began, ended))
            answered = 0
        else:
            ended = time.monotonic()
            phase.requests += 1
            phase.slowest = max(phase.slowest, ended - began)
            if self._last_answer:
                phase.gap = max(phase.gap, ended - self._last_answer)
            self._last_answer = ended
        self.finished += 1
        async with self._news:
            self._news.notify_all()
        return answered

    async def rest(self) -> None:
        await asyncio.sleep(random.uniform(0, 2 * self.pause))

    async def fresh(self) -> None:
        async def exchange() -> int:
            connection = await _Connection.open(self.port, self.tls)
            try:
                return await connection.get(self.phases[-1], close=True)
            finally:
                connection.close()

        while not self.leaving:
            await self.ask("fresh", 0, exchange)
            await self.rest()

    async def keep(self) -> None:
        connection: _Connection | None = None

        async def exchange() -> int:
            nonlocal connection
            if connection is not None and connection.was_closed():
                connection.close()
                connection = None
            if connection is None:
                connection = await _Connection.open(self.port, self.tls)
            return await connection.get(self.phases[-1], close=False)

        while not self.leaving:
            pid = connection.pid if connection is not None else 0
            answered = await self.ask("keep", pid, exchange)
            if connection is not None and (connection.ending or not answered):
                connection.close()
                connection = None
            await self.rest()
        if connection is not None:
            connection.close()


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.ending = False
        self.pid = 0

    @classmethod
    async def open(cls, port: int, tls: ssl.SSLContext | None) -> "_Connection":
        name = "localhost" if tls else None
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name))

    def was_closed(self) -> bool:
        """Return whether the server has closed the connection. The kernel is asked, since the loop
        may not have looked yet."""
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    async def get(self, phase: Phase, close: bool) -> int:
        extra = b"Connection: close\r\n" if close else b""
        self._writer.write(b"GET / HTTP/1.1\r\nHost: test\r\n" + extra + b"\r\n")
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200 "):
            raise _WrongAnswerError(head.split(b"\r\n")[0].decode())
        words = (await self._read_body(head)).decode().split()
        if len(words) != 2 * BODY_WORDS or words != words[:2] * BODY_WORDS:
            raise _WrongAnswerError(f"{len(words)} words: {words[:4]}")
        phase.versions[words[0]] = phase.versions.get(words[0], 0) + 1
        self.ending = b"connection: close" in head
        self.pid = int(words[1])
        return self.pid

    async def _read_body(self, head: bytes) -> bytes:
        if b"transfer-encoding: chunked" not in head:
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            return await self._reader.readexactly(int(length))
        body = b""
        while size := int(await self._reader.readline(), 16):
            body += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return body

    def close(self) -> None:
        self._writer.close()


async def _run(port: int, keep: int, fresh: int, pause: float, ca: str) -> None:
    tls = ssl.create_default_context(cafile=ca) if ca else None
    clients = _Clients(port, pause, tls)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks = [loop.create_task(clients.keep()) for _ in range(keep)]
    tasks += [loop.create_task(clients.fresh()) for _ in range(fresh)]
    await clients.serve_parent(reader)
    await asyncio.gather(*tasks)
    print(json.dumps(asdict(Report(clients.phases, clients.failures))), flush=True)
    # Bytes that remain in closing connections do not matter.
    os._exit(0)


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("keep", type=int)
    parser.add_argument("fresh", type=int)
    parser.add_argument("pause", type=float)
    parser.add_argument("ca")
    words = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(words.port, words.keep, words.fresh, words.pause, words.ca))


if __name__ == "__main__":
    _main()
