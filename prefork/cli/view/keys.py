"""Single keys of a terminal, read as they are pressed."""

import os
import select
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

QUIT = (b"q", b"Q", b"\x03")
"""The keys that end every live view."""


@contextmanager
def cbreak_mode() -> Iterator[None]:
    """A context manager: within it keys arrive when they are pressed, without echo.

    This is the noncanonical mode of termios(3); Ctrl-C still sends a signal (tty.setcbreak).
    """
    saved = termios.tcgetattr(0)
    tty.setcbreak(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)


def read_key(timeout: float) -> bytes:
    """Return one key, as the bytes that the terminal sends; empty after ``timeout`` seconds."""
    if not select.select([0], [], [], timeout)[0]:
        return b""
    key = os.read(0, 1)
    # Arrow keys arrive as escape sequences of three bytes. A lone Esc key is told apart by time, as
    # curses does it with ESCDELAY.
    if key == b"\x1b" and select.select([0], [], [], 0.05)[0]:
        key += os.read(0, 2)
    return key
