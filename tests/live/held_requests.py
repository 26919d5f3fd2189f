"""Requests that a test holds in flight, and knows to be in flight, without waiting for time to
pass."""

import os
import select
import socket
from http.client import HTTPResponse
from pathlib import Path

from tests.live.harness import PATIENCE, wait_for


class Gate:
    """A fifo that an app reads to its end. The app blocks in it, and the test can tell that it
    does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        os.mkfifo(path)

    def wait_entered(self) -> None:
        """Wait until an app blocks in the gate. It stays there until the gate is opened."""

        def entered() -> bool:
            try:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return False  # ENXIO: no process reads
            return True

        wait_for(entered, "an app blocks in the gate")

    def open(self) -> None:
        """Let the app go on that blocks in the gate; the next one blocks again."""
        os.close(self._fd)
        self._fd = -1


def send_request(port: int, path: str = "/", extra: str = "") -> socket.socket:
    """Send a GET request and return its connection without waiting for the response."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n{extra}\r\n".encode())
    return connection


def read_response(connection: socket.socket, close: bool = True) -> tuple[int, bytes]:
    """Read a response and return its status and body. Raises what the connection raises when there
    is none."""
    try:
        response = HTTPResponse(connection)
        response.begin()
        return response.status, response.read()
    finally:
        if close:
            connection.close()


def is_closed(connection: socket.socket) -> bool:
    """Return whether the server has closed the connection without sending another byte."""
    readable, _, _ = select.select([connection], [], [], 0)
    try:
        return bool(readable) and connection.recv(1) == b""
    except ConnectionResetError:
        return True


def ask_unix(path: Path) -> bytes:
    """Return the response to a GET request over a unix socket, until the server closes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))
