"""Clients on raw epoll: a request says how long the worker sleeps, the answer is its pid."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

TIMEOUT_SECONDS = 60.0
WAKE_SECONDS = 0.05


class ClientError(Exception):
    """An answer is malformed or missing."""


@dataclass(frozen=True)
class Answer:
    """An answer: the pid of its worker, and when the request was sent and answered, in seconds."""

    worker: int
    sent_at: float
    answered_at: float

    @property
    def latency(self) -> float:
        """Seconds from the request to the answer."""
        return self.answered_at - self.sent_at


class Client:
    """A client that sends one request at a time.

    It keeps its connection until the server closes it. With `keep_alive` False it opens a new
    connection for each request.
    """

    def __init__(self, port: int, keep_alive: bool = True) -> None:
        self._port = port
        self._keep_alive = keep_alive
        self._request = b""
        self._received = b""
        self._is_fresh = True
        self.sent_at = 0.0
        self.socket: socket.socket | None = None

    def connect(self) -> None:
        """Open a connection unless there is one; without this call `send` opens it."""
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self._port), TIMEOUT_SECONDS)
            self._is_fresh = True

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def send(self, ms: float) -> None:
        """Send a request for which the worker sleeps `ms` milliseconds."""
        field = b"" if self._keep_alive else b"Connection: close\r\n"
        self._request = b"GET /%d HTTP/1.1\r\nHost: 127.0.0.1\r\n%b\r\n" % (ms, field)
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
        """Send the request on a new connection (RFC 9110, section 9.2.2).

        A server may close an idle connection at any time. A new connection it must answer, so a
        second close raises ClientError.
        """
        if self._is_fresh:
            raise ClientError("the server closed a new connection without an answer")
        self.close()
        self._send()

    def receive(self) -> Answer | None:
        """Read from the connection once it is readable; return the answer, None while incomplete.

        Raises ClientError.
        """
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
    """Return the value of Content-Length in `head`, None without one."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
        if name.lower() == b"transfer-encoding":
            raise ClientError("an answer in chunks")
    return None


def _parse_pid(head: bytes, body: bytes) -> int:
    """Return the pid in `body`. Raises ClientError for another status or a body of another kind."""
    if b" 200 " not in head.split(b"\r\n", 1)[0] or not body.isdigit():
        raise ClientError(f"answered {head[:40]!r} {body[:40]!r}")
    return int(body)


def request_once(port: int, ms: float) -> Answer:
    """Send one request on a new connection and return the answer."""
    client = Client(port, keep_alive=False)
    try:
        client.send(ms)
        while not (answer := client.receive()):
            pass
        return answer
    finally:
        client.close()


def receive_answers(clients: list[Client], until: float) -> Iterator[tuple[Client, Answer]]:
    """Yield each answer with its client as it arrives, until `time.perf_counter()` is `until`.

    The caller may send the next request of a client while it handles the client's answer.
    """
    watched: dict[int, tuple[Client, socket.socket]] = {}
    with select.epoll() as poll:

        def watch(client: Client) -> None:
            """Register the client's connection if it is new; closing unregisters an old one."""
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
