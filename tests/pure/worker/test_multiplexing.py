"""Several requests in flight on one connection: each has its own answer, log, deadline and report.

The toy protocol stands for HTTP/2. The app is served by the handlers of WSGI (with threads) and of
ASGI, which know requests and sinks only.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from prefork.http.exchange import Exchange
from prefork.http.limits import Limits
from prefork.unix.scoreboard import Scoreboard
from prefork.wire.worker_orders import REPORT_STACKS
from prefork.worker.app_api import WorkerInfo
from prefork.worker.asgi.asgi_handler import AsgiHandler
from prefork.worker.master_channel import MasterChannel
from prefork.worker.monitor.slow_log import SlowLog
from prefork.worker.monitor.stats import WorkerStats
from prefork.worker.monitor.watchdog import Watchdog
from prefork.worker.wsgi.environ import EnvironBuilder
from prefork.worker.wsgi.wsgi_threads import ThreadedWsgiHandler
from tests.fuzz.memory import MemoryServer, MemoryTransport
from tests.toy_protocol import Frame, ToyConnection, parse_frames

THREADS = 2
DEADLINE = 10.0
"""Seconds of real time in which a thread must have done its part."""


class Gates:
    """The gates that the app waits for: requests for ``/wait/…`` are answered when their gate is
    opened.
    """

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._gates: dict[str, threading.Event] = {}
        self._futures: dict[str, asyncio.Future[None]] = {}

    def open(self, path: str) -> None:
        if path in self._gates:
            self._gates[path].set()
        if path in self._futures and not self._futures[path].done():
            self._futures[path].set_result(None)

    def open_all(self) -> None:
        for path in self.begun:
            self.open(path)

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        path = environ["PATH_INFO"]
        gate = self._gates[path] = threading.Event()
        self.begun.append(path)
        if path.startswith("/wait"):
            gate.wait(DEADLINE)
        environ["wsgi.early_hints"]([("Link", path)])
        start_response("200 OK", [("X-Path", path)])
        return [path.encode()]

    async def asgi(self, scope: Any, _receive: Any, send: Any) -> None:
        path = scope["path"]
        gate = self._futures[path] = asyncio.get_running_loop().create_future()
        self.begun.append(path)
        if path.startswith("/wait"):
            await gate
        await send({"type": "http.response.early_hint", "links": [path.encode()]})
        fields = [(b"x-path", path.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": path.encode()})


class LogLines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class ToyServer:
    """A worker's HTTP part that serves the toy protocol, and its client."""

    def __init__(self, interface: str, memory: MemoryServer) -> None:
        self.memory, self.state = memory, memory.state
        self.app, self.log_lines = Gates(), LogLines()
        self.log = logging.Logger("toy")
        self.log.addHandler(self.log_lines)
        self.row = Scoreboard().acquire_row(1)
        self.reader, self._writer = os.pipe()
        self.logged: list[tuple[str, int]] = []
        self.state.log_access = self._log_access
        self.is_threaded = interface == "wsgi"
        memory.loop.call_soon(self._make_handler)
        memory.settle()
        self.transport = MemoryTransport(memory.loop, None)
        self.transport.protocol = connection = ToyConnection(self.state)
        self.state.load.add_connection()
        connection.connection_made(self.transport)

    def _make_handler(self) -> None:
        channel = MasterChannel(self._writer, self.row, 30.0, lambda _: None, lambda: None)
        self.handler: ThreadedWsgiHandler | AsgiHandler
        if self.is_threaded:
            environ = EnvironBuilder(True, False)
            app = self.app.wsgi
            self.handler = ThreadedWsgiHandler(app, channel, self.log, environ, THREADS, None)
        else:
            self.handler = AsgiHandler(self.app.asgi, self.log, None)
        self.state.handler, self.state.handle = self.handler, self.handler.handle

    def _log_access(self, exchange: Exchange) -> None:
        self.logged.append((exchange.request.path.decode(), exchange.status))

    def close(self) -> None:
        self.app.open_all()
        self.transport.close()
        ending = self.memory.loop.create_task(self.handler.wait_for_calls())
        self.wait_until(ending.done)
        os.close(self.reader)
        os.close(self._writer)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Let loop and threads run until ``condition`` holds."""
        until = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < until
            self.memory.settle()
            time.sleep(0.001)
        self.memory.settle()

    def send(self, *requests: bytes) -> None:
        """Send requests, and wait until the app has begun with each that is not queued."""
        count = len(self.app.begun) + len(requests)
        lines = b"".join(b"%b\n" % request for request in requests)
        self.memory.loop.call_soon(self.transport.put, lines)
        if self.is_threaded:
            count = min(count, THREADS)
        self.wait_until(lambda: len(self.app.begun) >= count)

    def open(self, path: str) -> None:
        """Have the app answer, and wait for the answer."""
        answers = len(self.ended)
        self.app.open(path)
        self.wait_until(lambda: len(self.ended) > answers)

    @property
    def ended(self) -> list[bytes]:
        """The numbers of the requests whose answers have ended, in this order."""
        return parse_frames(bytes(self.transport.out))[0]

    def frames(self, number: bytes) -> list[Frame]:
        return parse_frames(bytes(self.transport.out))[1][number]

    def status(self, number: bytes) -> int:
        head = next(data for kind, data in self.frames(number) if kind == b"head")
        return int(head.split(b"\r\n")[0])

    def body(self, number: bytes) -> bytes:
        return b"".join(data for kind, data in self.frames(number) if kind == b"data")


@pytest.fixture(params=["wsgi", "asgi"])
def server(request: pytest.FixtureRequest) -> Iterator[ToyServer]:
    with MemoryServer(request.param == "asgi", Limits(request=30)) as memory:
        server = ToyServer(request.param, memory)
        yield server
        server.close()


INFO = WorkerInfo(0, 1, "toy")
ONE, TWO = b"1 GET /wait/one", b"2 GET /wait/two"


def test_answers_may_come_out_of_order(server: ToyServer) -> None:
    server.send(ONE, TWO)
    assert server.state.load.requests_in_flight == 2
    server.open("/wait/two")
    assert server.ended == [b"2"]
    server.open("/wait/one")
    assert server.ended == [b"2", b"1"]
    for number, path in ((b"1", b"/wait/one"), (b"2", b"/wait/two")):
        kinds = [kind for kind, _ in server.frames(number)]
        assert kinds == [b"interim", b"head", b"data", b"end"]
        assert b"Link: " + path in server.frames(number)[0][1]
        assert b"x-path: " + path in server.frames(number)[1][1].replace(b"X-Path", b"x-path")
        assert server.body(number) == path


def test_each_request_is_logged_and_counted_when_it_ends(server: ToyServer) -> None:
    stats = WorkerStats(server.row, 0, server.memory.loop.time())
    server.send(ONE, TWO)

    def published() -> tuple[int, int, int, int]:
        server.memory.pass_time(0.25)
        stats.publish(server.state, server.memory.loop.time(), 0.25)
        row = server.row.read()
        return row["in_flight"], row["requests"], row["answered_2xx"], row["sent"]

    assert published() == (2, 0, 0, 0)
    oldest = server.row.read()["oldest"]
    assert oldest > 0
    server.open("/wait/two")
    assert server.logged == [("/wait/two", 200)]
    assert published() == (1, 1, 1, 9)
    assert server.row.read()["oldest"] == oldest, "the request that began first is still there"
    server.open("/wait/one")
    assert server.logged == [("/wait/two", 200), ("/wait/one", 200)]
    assert published() == (0, 2, 2, 18)
    assert server.row.read()["oldest"] == 0
    assert not server.state.active_connections


def test_each_request_counts_for_the_limit_of_requests(server: ToyServer) -> None:
    told: list[int] = []

    def note() -> None:
        told.append(server.state.counters.requests)

    server.state.call_after_requests(2, note)
    server.send(ONE, TWO)
    server.open("/wait/two")
    assert told == []
    server.open("/wait/one")
    assert told == [2], "the connection is still open"


def test_each_request_has_a_deadline_of_its_own(server: ToyServer) -> None:
    server.send(ONE)
    server.memory.pass_time(20)
    server.send(TWO)
    (one, two) = next(iter(server.state.connections)).in_flight()
    server.memory.pass_time(11)
    assert (one.is_overdue, two.is_overdue) == (True, False)
    assert "no answer in time: GET /wait/one" in "".join(server.log_lines.lines)
    if not server.is_threaded:  # a call in a thread cannot be cancelled
        assert (server.ended, server.status(b"1")) == ([b"1"], 500)
    server.open("/wait/two")
    assert server.status(b"2") == 200
    assert "/wait/two" not in "".join(server.log_lines.lines)


def test_a_request_that_waits_for_a_thread_is_refused_alone() -> None:
    with (
        MemoryServer(False, Limits(request=30)) as memory,
        closing(ToyServer("wsgi", memory)) as server,
    ):
        server.send(ONE, TWO)
        memory.pass_time(20)
        server.send(b"3 GET /three")
        memory.pass_time(31)
        assert (server.ended, server.status(b"3")) == ([b"3"], 503)
        assert server.state.load.requests_in_flight == 2


@pytest.fixture
def ask_watchdog(server: ToyServer) -> Iterator[tuple[Watchdog, Callable[[], str]]]:
    """Yield the watchdog, and a function that asks for a report as the master does.

    The function returns the line for the master.
    """
    told: list[str] = []
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    watchdog = Watchdog(INFO, server.log, told.append, None, reader)
    watchdog.service = server.state
    watchdog.start()

    def ask() -> str:
        os.write(writer, REPORT_STACKS)
        server.wait_until(lambda: bool(told))
        return told.pop()

    yield watchdog, ask
    watchdog.pause()
    for fd in (*watchdog.descriptors(), writer):
        os.close(fd)


Asking = tuple[Watchdog, Callable[[], str]]


def test_the_watchdog_reports_each_request(server: ToyServer, ask_watchdog: Asking) -> None:
    server.send(ONE, TWO)
    _, ask = ask_watchdog
    assert "/wait/" in ask()
    (report,) = server.log_lines.lines
    for path in ("/wait/one", "/wait/two"):
        assert f"GET {path} from 192.0.2.1:4711 for" in report
    assert report.count("test_multiplexing.py") >= 2, "where each of them waits"
    server.open("/wait/two")
    server.log_lines.lines.clear()
    assert "/wait/one" in ask()
    assert "/wait/two" not in "".join(server.log_lines.lines)


def test_the_slow_log_reports_each_request_once(server: ToyServer, ask_watchdog: Asking) -> None:
    server.send(ONE, TWO)
    slow = SlowLog(0.01, False, INFO, ask_watchdog[0], server.log, None)
    server.state.log_access = slow.log_request_end
    slow.start(server.state)
    began = time.monotonic()
    server.wait_until(lambda: time.monotonic() - began > 0.05)
    slow._beat()
    slow._beat()
    lines = [line for line in server.log_lines.lines if "has no answer" in line]
    assert sorted(line.split()[2] for line in lines) == ["/wait/one", "/wait/two"]
    server.open("/wait/two")
    assert "GET /wait/two" in server.log_lines.lines[-1]
    assert "answered 200" in server.log_lines.lines[-1]


def test_all_requests_of_a_client_that_leaves_end(server: ToyServer) -> None:
    server.send(ONE, TWO)
    server.transport.close()
    server.memory.settle()
    assert server.state.load.requests_in_flight == 0
    assert sorted(server.logged) == [("/wait/one", 0), ("/wait/two", 0)]
    assert not server.state.connections
