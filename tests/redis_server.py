"""A real redis-server of a test: on a unix socket and on a port that the kernel chose."""

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0
PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server") or ""

needs_redis = pytest.mark.skipif(not PROGRAM, reason="there is no redis-server or valkey-server")


class RedisServer:
    """One server, whose data are in ``folder``. It is killed at the end of the test."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        """The URL of its unix socket."""
        return f"unix://{self.socket}"

    @property
    def tcp_url(self) -> str:
        """The URL of its port, with which it was started."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, on the port that it had before, and wait until it answers."""
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        self.socket.unlink(missing_ok=True)
        fixed = {"port": self.port, "bind": "127.0.0.1", "unixsocket": self.socket, "save": ""}
        words = [word for name, value in fixed.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen(
            [PROGRAM, *words, "--dir", str(self.folder), *self._options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            assert self._process.poll() is None, "redis-server has ended"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.005)

    def answers(self) -> bool:
        """Return whether it answers, also that it wants a password."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PATIENCE)
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def command(self, *words: str) -> bytes:
        """Send a command, and return the first bytes of the answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(self.socket))
            request = b"*%d\r\n" % len(words)
            for word in words:
                request += b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode())
            connection.sendall(request)
            return connection.recv(65536)

    def send_signal(self, signum: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(signum)

    def kill(self) -> None:
        """Kill it, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.send_signal(signal.SIGCONT)
            self._process.wait()
            self._process = None

    def __enter__(self) -> "RedisServer":
        return self

    def __exit__(self, *_error: Any) -> None:
        self.kill()
