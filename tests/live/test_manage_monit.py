"""The live view, on a terminal of its own: what it shows, and what its keys do."""

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
from pathlib import Path

import pytest

from tests.live.harness import PATIENCE, wait_for
from tests.live.test_manage import Home

__all__ = ["home"]
from tests.live.test_manage import home


class Terminal:
    """A program on a pseudo terminal, and everything that it wrote."""

    def __init__(self, home: Home, columns: int, lines: int) -> None:
        self._ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PREFORK_")}
        for name in ("COLUMNS", "LINES"):
            environ.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "prefork", "monit"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environ, "PREFORK_HOME": str(home.home), "TERM": "xterm"},
            start_new_session=True,
        )
        os.close(theirs)
        self._written = b""

    def press(self, key: str) -> None:
        os.write(self._ours, key.encode())

    def shows(self, pattern: str) -> None:
        """Wait until it has written something like this since the last call."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, _plain(self._written)):
            assert time.monotonic() < deadline, _plain(self._written)[-2000:]
            if select.select([self._ours], [], [], 0.1)[0]:
                self._written += os.read(self._ours, 65536)
        self._written = b""

    def ends(self) -> int:
        """Wait for its end and read on meanwhile: a full terminal would hold it up."""

        def ended() -> bool:
            if select.select([self._ours], [], [], 0.05)[0]:
                try:
                    os.read(self._ours, 65536)
                except OSError:
                    pass  # nobody has the other side any more
            return self.process.poll() is not None

        wait_for(ended, "monit ends")
        return int(self.process.returncode)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self._ours)


def _plain(written: bytes) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode("utf-8", "replace"))


@contextmanager
def monit(home: Home, columns: int = 120, lines: int = 40) -> Iterator[Terminal]:
    terminal = Terminal(home, columns, lines)
    try:
        yield terminal
    finally:
        terminal.close()


def test_it_shows_apps_and_its_keys_act_on_the_chosen_one(home: Home) -> None:
    home.start("one")
    home.start("two")
    with monit(home) as terminal:
        terminal.shows(r"one +running +1/1")
        terminal.press("j")
        terminal.press("+")
        terminal.shows(r"two: scale done")
        wait_for(lambda: home.app("two")["target"] == 2, "two was scaled")
        terminal.shows(r"two +running +2/2")
        terminal.press("r")
        terminal.shows(r"two: reload done")
        assert home.app("two")["generation"] == 2
        terminal.press("s")
        terminal.shows(r"two +stopped")
        terminal.press("q")
        assert terminal.ends() == 0
    assert home.app("one")["target"] == 1


@pytest.mark.parametrize(("columns", "lines"), [(40, 10), (80, 24), (200, 60)])
def test_it_fits_any_terminal(home: Home, columns: int, lines: int) -> None:
    home.start()
    with monit(home, columns, lines) as terminal:
        terminal.shows("web")
        terminal.press("q")
        assert terminal.ends() == 0


def test_without_a_terminal_it_says_so(home: Home, tmp_path: Path) -> None:
    assert "monit needs a terminal" in home.bad(100, "monit")
