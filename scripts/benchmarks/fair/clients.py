"""The client's side: requests for a worker's sleep, on raw epoll, each answered by a pid."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

TIMEOUT_SECONDS = 60.0
WAKE_SECONDS = 0.05


class ClientError(Exception):
    """An answer is none, or does not come."""


@dataclass(frozen=True)
class Answer:
    """Which worker gave it, and when the request was sent and answered, in seconds."""

    worker: int
    sent_at: float
    answered_at: float

    @property
    def latency(self) -> float:
        return self.answered_at - self.sent_at


class Client:
    """One request at a time, on one connection until the server closes it; `keep_alive` False: on
    a new one each."""

    def __init__(self, port: int, keep_alive: bool = True) -> None:
        self._port = port
        self._keep_alive = keep_alive
        self._request = b""
        self._received = b""
        self._is_fresh = True
        self.sent_at = 0.0
        self.socket: socket.socket | None = None

    def connect(self) -> None:
        """Have a connection; `send` would open it otherwise."""
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self._port), TIMEOUT_SECONDS)
            self._is_fresh = True

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def send(self, ms: float) -> None:
        """The next request; the worker sleeps for so many milliseconds."""
        fate = b"" if self._keep_alive else b"Connection: close\r\n"
        self._request = b"GET /%d HTTP/1.1\r\nHost: 127.0.0.1\r\n%b\r\n" % (ms, fate)
        self.sent_at = time.perf_counter()
        self._send()

    def _send(self) -> None:
        self.connect()
        assert self.socket is not None
        self._received = b""
        try:
            self.socket.sendall(self._request)
        except (BrokenPipeError, ConnectionResetError):
            self._retry()

    def _retry(self) -> None:
        """A server may close an idle connection just as we send; but no new one."""
        if self._is_fresh:
            raise ClientError("the server closed a new connection without an answer")
        self.close()
        self._send()

    def receive(self) -> Answer | None:
        """To be called when there is something to read; None: there is more to come."""
        assert self.socket is not None
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not data and not end:
            self._retry()
            return None
        wanted = _content_length(head) if end else None
        if not end or (data and (wanted is None or len(body) < wanted)):
            return None
        answer = Answer(_parse_pid(head, body), self.sent_at, time.perf_counter())
        self._is_fresh = False
        if not self._keep_alive or not data or b"connection: close" in head.lower():
            self.close()
        return answer


def _content_length(head: bytes) -> int | None:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
        if name.lower() == b"transfer-encoding":
            raise ClientError("an answer in chunks")
    return None


def _parse_pid(head: bytes, body: bytes) -> int:
    if b" 200 " not in head.split(b"\r\n", 1)[0] or not body.isdigit():
        raise ClientError(f"answered {head[:40]!r} {body[:40]!r}")
    return int(body)


def request_once(port: int, ms: float) -> Answer:
    """One request on a connection of its own."""
    client = Client(port, keep_alive=False)
    try:
        client.send(ms)
        while not (answer := client.receive()):
            pass
        return answer
    finally:
        client.close()


def receive_answers(clients: list[Client], until: float) -> Iterator[tuple[Client, Answer]]:
    """Who is answered, as it happens, up to a point in time. Whoever wants more sends anew."""
    watched: dict[int, tuple[Client, socket.socket]] = {}
    with select.epoll() as poll:

        def watch(client: Client) -> None:
            """Its connection may be another one now; epoll forgets one that was closed."""
            if client.socket is not None:
                fd = client.socket.fileno()
                if watched.get(fd) != (client, client.socket):
                    watched[fd] = client, client.socket
                    poll.register(fd, select.EPOLLIN)

        for client in clients:
            watch(client)
        while time.perf_counter() < until:
            for fd, _ in poll.poll(WAKE_SECONDS):
                client, connection = watched[fd]
                if client.socket is not connection:
                    continue
                answer = client.receive()
                if answer is not None:
                    yield client, answer
                watch(client)
