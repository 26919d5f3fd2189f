"""Keys of a terminal, one by one as they are pressed."""

import os
import select
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

QUIT = (b"q", b"Q", b"\x03")
"""Those that end a live view, wherever there is one."""


@contextmanager
def cbreak_mode() -> Iterator[None]:
    """Keys arrive when they are pressed, and are not shown."""
    saved = termios.tcgetattr(0)
    tty.setcbreak(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)


def read_key(timeout: float) -> bytes:
    """One key, or nothing within ``patience`` seconds."""
    if not select.select([0], [], [], timeout)[0]:
        return b""
    key = os.read(0, 1)
    if key == b"\x1b" and select.select([0], [], [], 0.05)[0]:
        key += os.read(0, 2)
    return key
