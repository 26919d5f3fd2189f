"""The load generator: many connections on raw epoll, one request outstanding on each.

It has to cost less than any server it measures, so it parses nothing: the first answer tells how
many bytes each one has, and every later answer is counted, not read. It fails loudly when the
count does not fit or an answer does not begin as the first one did.
"""

from __future__ import annotations

import select
import ssl
from dataclasses import dataclass
from time import perf_counter_ns, process_time_ns

from .answer import Answer
from .connect import BadAnswerError, connect
from .loads import Load

LARGEST_READ = 256 * 1024
WAKE_SECONDS = 0.1
READABLE, WRITABLE = select.EPOLLIN, select.EPOLLOUT


@dataclass(frozen=True)
class Sample:
    """What happened between two points in time; latencies in ns, in order of size.

    `starved` connections got no answer at all in that time; their wait is none of the latencies,
    but `oldest_ns` is the longest of all requests that were still waiting at the end.
    """

    latencies: list[int]
    elapsed_ns: int
    cpu_ns: int
    reconnects: int
    starved: int
    oldest_wait_ns: int


class Connection:
    """A connection, what is unsent of its request, the bytes that its answer still lacks, and when
    its request was started_at."""

    __slots__ = ("missing", "recv", "send", "socket", "started_at", "unsent")

    def __init__(self, port: int, load: Load, missing: int) -> None:
        self.started_at = perf_counter_ns()
        self.missing = missing
        self.unsent: memoryview | None = None
        self.socket = connect(port, load)
        self.socket.setblocking(False)
        self.recv = self.socket.recv
        self.send = self.socket.send


class Generator:
    """Keeps `load.connections` busy with requests whose answers are all like `answer`."""

    def __init__(self, port: int, load: Load, answer: Answer) -> None:
        self._port = port
        self._load = load
        self._requests = load.iterate_requests()
        self._answer = answer
        self._reconnects = 0
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        for _ in range(load.connections):
            self._connect()

    def run(self, seconds: float) -> Sample:
        """Goes on for `seconds`; what is outstanding at the end belongs to the next run."""
        self._reconnects = 0
        latencies: list[int] = []
        started_at, used = perf_counter_ns(), process_time_ns()
        self._run_until(started_at + int(seconds * 1e9), latencies)
        ended, used = perf_counter_ns(), process_time_ns() - used
        waiting = [connection.started_at for connection in self._connections.values()]
        return Sample(
            sorted(latencies),
            ended - started_at,
            used,
            self._reconnects,
            starved=sum(since < started_at for since in waiting),
            oldest_wait_ns=ended - min(waiting),
        )

    def close(self) -> None:
        for connection in self._connections.values():
            connection.socket.close()
        self._epoll.close()

    def _run_until(self, until: int, latencies: list[int]) -> None:
        """The loop that matters: names are local, and an answer in one piece takes no call."""
        connections, poll, clock, note = (
            self._connections, self._epoll.poll, perf_counter_ns, latencies.append,
        )  # fmt: skip
        requests, keep_alive, size = self._requests, not self._answer.closes, self._answer.size
        begins, room = self._answer.first_bytes, min(size + 1, LARGEST_READ)
        now = clock()
        while now < until:
            for fd, event in poll(WAKE_SECONDS):
                connection = connections[fd]
                try:
                    if event & WRITABLE:
                        self._continue_sending(fd)
                        continue
                    data = connection.recv(room)
                    whole = len(data) == size == connection.missing
                    if not (whole and data.startswith(begins)) and not self._count_piece(fd, data):
                        continue
                    now = clock()
                    note(now - connection.started_at)
                    connection.started_at = now
                    connection.missing = size
                    if connection.unsent is not None:
                        raise BadAnswerError("an answer before the request was sent")
                    if keep_alive:
                        request = next(requests)
                        sent = connection.send(request)
                        if sent < len(request):
                            self._keep_unsent(fd, request, sent)
                except OSError as error:
                    self._handle_error(fd, error)
            now = clock()

    def _handle_error(self, fd: int, error: OSError) -> None:
        """Goes on after what is no fault: nothing to read yet, TLS in between, a closed end."""
        match error:
            case ssl.SSLWantReadError():
                if self._connections[fd].unsent is not None:
                    self._continue_sending(fd)
            case BrokenPipeError() | ConnectionResetError():
                self._reconnect(fd)
            case BlockingIOError():
                pass
            case _:
                raise error

    def _keep_unsent(self, fd: int, request: bytes, sent: int) -> None:
        """Keeps what the kernel did not take of `request` for when it takes more."""
        self._connections[fd].unsent = memoryview(request)[sent:]
        self._epoll.modify(fd, READABLE | WRITABLE)

    def _continue_sending(self, fd: int) -> None:
        connection = self._connections[fd]
        unsent = connection.unsent or memoryview(b"")
        try:
            unsent = unsent[connection.send(unsent) :]
        except ssl.SSLWantReadError:
            return  # still shaking hands; the server's next flight wakes us
        connection.unsent = unsent or None
        if connection.unsent is None:
            self._epoll.modify(fd, READABLE)

    def _count_piece(self, fd: int, data: bytes) -> bool:
        """Counts a part of an answer, or the server's close; true when the answer is complete."""
        connection, size = self._connections[fd], self._answer.size
        begins = connection.missing == size
        if not data:
            if not begins:
                raise BadAnswerError("the server closed in the middle of an answer")
            self._reconnect(fd)
            return False
        if begins and not data.startswith(self._answer.first_bytes[: len(data)]):
            raise BadAnswerError(f"an answer that begins {data[:40]!r}")
        connection.missing -= len(data)
        if connection.missing < 0:
            raise BadAnswerError(f"an answer of more than the first one's {size} bytes")
        return connection.missing == 0

    def _connect(self) -> None:
        connection = Connection(self._port, self._load, self._answer.size)
        fd = connection.socket.fileno()
        self._connections[fd] = connection
        self._epoll.register(fd, READABLE)
        request = next(self._requests)
        try:
            sent = connection.send(request)
        except ssl.SSLWantReadError:
            connection.unsent = memoryview(request)
            return
        if sent < len(request):
            self._keep_unsent(fd, request, sent)

    def _reconnect(self, fd: int) -> None:
        self._reconnects += 1
        self._connections.pop(fd).socket.close()
        self._connect()
