"""The load generator: many connections on raw epoll, one request outstanding on each.

It must need less CPU time than any server that it measures, so it does not parse answers. The first
answer says how many bytes each answer has; of later answers it only counts the bytes. It fails when
the count is wrong, or when an answer does not begin with the first bytes of the first one.
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
    """The counts and times of one window; `latencies` are in nanoseconds and sorted.

    `elapsed_ns` is the length of the window and `cpu_ns` the generator's own CPU time. `reconnects`
    is the number of connections that were replaced. `starved` connections got no answer in the
    window; their wait is not in `latencies`. `oldest_wait_ns` is the longest wait of all requests
    that were still unanswered at the end.
    """

    latencies: list[int]
    elapsed_ns: int
    cpu_ns: int
    reconnects: int
    starved: int
    oldest_wait_ns: int


class Connection:
    """A connection with one request outstanding.

    `started_at` is the time at which that request was started, in nanoseconds. `missing` is the
    number of bytes that its answer still lacks. `unsent` is the part of the request that the kernel
    has not taken yet. `recv` and `send` are methods of `socket`, bound once for speed.
    """

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
    """Sends `load` to `port`; all answers must have the size and the first bytes of `answer`."""

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
        """Send requests for `seconds` and return the sample.

        Requests that are unanswered at the end stay outstanding and belong to the next run. Raises
        BadAnswerError or OSError.
        """
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
        """Close all connections."""
        for connection in self._connections.values():
            connection.socket.close()
        self._epoll.close()

    def _run_until(self, until: int, latencies: list[int]) -> None:
        """Run the loop until the clock reaches `until`, and append to `latencies`.

        This is the hot path: all names are local, and an answer that arrives in one piece needs no
        call of another method.
        """
        connections, poll, clock, note = (
            self._connections, self._epoll.poll, perf_counter_ns, latencies.append,
        )  # fmt: skip
        requests, keep_alive, size = self._requests, not self._answer.closes, self._answer.size
        first_bytes, most = self._answer.first_bytes, min(size + 1, LARGEST_READ)
        now = clock()
        while now < until:
            for fd, event in poll(WAKE_SECONDS):
                connection = connections[fd]
                try:
                    if event & WRITABLE:
                        self._continue_sending(fd)
                        continue
                    data = connection.recv(most)
                    whole = len(data) == size == connection.missing
                    if not (whole and data.startswith(first_bytes)) and not self._count_piece(
                        fd, data
                    ):
                        continue
                    now = clock()
                    note(now - connection.started_at)
                    connection.started_at = now
                    connection.missing = size
                    if connection.unsent is not None:
                        raise BadAnswerError("an answer arrived before the request was sent")
                    if keep_alive:
                        request = next(requests)
                        sent = connection.send(request)
                        if sent < len(request):
                            self._keep_unsent(fd, request, sent)
                except OSError as error:
                    self._handle_error(fd, error)
            now = clock()

    def _handle_error(self, fd: int, error: OSError) -> None:
        """Handle errors that are no failure of the server; raise all others.

        These are a read without data, a TLS record that is still incomplete, and a connection that
        the server closed: it is replaced.
        """
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
        """Keep the part of `request` after its first `sent` bytes until it can be sent."""
        self._connections[fd].unsent = memoryview(request)[sent:]
        self._epoll.modify(fd, READABLE | WRITABLE)

    def _continue_sending(self, fd: int) -> None:
        """Send more of the connection's unsent request."""
        connection = self._connections[fd]
        unsent = connection.unsent or memoryview(b"")
        try:
            unsent = unsent[connection.send(unsent) :]
        except ssl.SSLWantReadError:
            return  # the handshake goes on when the server's next message arrives
        connection.unsent = unsent or None
        if connection.unsent is None:
            self._epoll.modify(fd, READABLE)

    def _count_piece(self, fd: int, data: bytes) -> bool:
        """Count a part of an answer, or handle a close; return whether the answer is complete."""
        connection, size = self._connections[fd], self._answer.size
        is_first = connection.missing == size
        if not data:
            if not is_first:
                raise BadAnswerError("the server closed in the middle of an answer")
            self._reconnect(fd)
            return False
        if is_first and not data.startswith(self._answer.first_bytes[: len(data)]):
            raise BadAnswerError(f"an answer begins with {data[:40]!r}")
        connection.missing -= len(data)
        if connection.missing < 0:
            raise BadAnswerError(f"an answer has more bytes than the first one, which has {size}")
        return connection.missing == 0

    def _connect(self) -> None:
        """Open a connection and send its first request."""
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
        """Replace a connection that the server closed."""
        self._reconnects += 1
        self._connections.pop(fd).socket.close()
        self._connect()
