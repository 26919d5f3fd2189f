"""A prefork command on a pseudo terminal of its own: what it shows, and what its keys do."""

import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl

from tests.live.harness import PATIENCE, wait_for
from tests.live.home import Home


class Terminal:
    """A prefork command on a pseudo terminal, and all that it wrote."""

    def __init__(self, home: Home, *words: str, columns: int = 120, lines: int = 40) -> None:
        self._ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PREFORK_")}
        for name in ("COLUMNS", "LINES"):
            environ.pop(name, None)
        self.process = subprocess.Popen(
            # The terminal has to be its controlling one, so that Ctrl-C becomes a signal.
            ["setsid", "--ctty", sys.executable, "-m", "prefork", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environ, "PREFORK_HOME": str(home.home), "TERM": "xterm"},
        )
        os.close(theirs)
        self._written = b""

    def press(self, key: str) -> None:
        """Send keys to the command."""
        os.write(self._ours, key.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the terminal, which sends SIGWINCH."""
        ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait_for_output(self, pattern: str) -> None:
        """Wait until it has written a match of ``pattern`` since the last call."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, _plain(self._written)):
            assert time.monotonic() < deadline, _plain(self._written)[-2000:]
            if select.select([self._ours], [], [], 0.1)[0]:
                self._written += os.read(self._ours, 65536)
        self._written = b""

    def is_echoing(self) -> bool:
        """Return whether the terminal echoes keys, as it does for a shell."""
        return bool(termios.tcgetattr(self._ours)[3] & termios.ECHO)

    def wait_exit(self) -> int:
        """Wait for its end and return the exit code. Output is read meanwhile: a full terminal
        would block it."""

        def ended() -> bool:
            if select.select([self._ours], [], [], 0.05)[0]:
                try:
                    os.read(self._ours, 65536)
                except OSError:
                    pass  # EIO: no process has the other side open
            return self.process.poll() is not None

        wait_for(ended, "it ends")
        return int(self.process.returncode)

    def read_all(self, keys: str, after: bytes) -> bytes:
        """Return all that it writes until its end; ``keys`` are pressed once it has written
        ``after``."""
        deadline = time.monotonic() + PATIENCE
        while True:
            if keys and after in self._written:
                self.press(keys)
                keys = ""
            if select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
                try:
                    self._written += os.read(self._ours, 65536)
                except OSError:  # EIO: no process has the other side any more
                    return self._written
            assert time.monotonic() < deadline, self._written[-2000:]

    def close(self) -> None:
        """Kill the command, if it still runs, and close the terminal."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self._ours)


def terminal_output(home: Home, *words: str, keys: str = "", after: bytes = b"") -> bytes:
    """Return all bytes that ``prefork WORDS`` writes to its terminal until it ends. ``keys`` are
    pressed once it has written ``after``."""
    with on_terminal(home, *words) as terminal:
        return terminal.read_all(keys, after)


def _plain(written: bytes) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode("utf-8", "replace"))


@contextmanager
def on_terminal(home: Home, *words: str, columns: int = 120, lines: int = 40) -> Iterator[Terminal]:
    """Run ``prefork WORDS`` on a terminal and kill it at the end."""
    terminal = Terminal(home, *words, columns=columns, lines=lines)
    try:
        yield terminal
    finally:
        terminal.close()
