"""``prefork logs``: the last lines of logs, and what follows, also across a rotation."""

import os
import select
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from prefork.errors import UsageError
from prefork.unix.home import Entry

LOOK_EVERY = 0.2
"""Seconds between two looks at a file that did not grow; files cannot be waited for."""


def follow_logs(apps: Sequence[Entry], lines: int, follow: bool) -> int:
    """Print them; with several apps each line begins with the name of its app."""
    tails = [Tail(app.name if len(apps) > 1 else "", _path(app)) for app in apps]
    if not tails:
        raise UsageError("there is no app; start one with `prefork start myapp:main`")
    for tail in tails:
        tail.last(lines)
    try:
        while follow:
            if not sum(tail.more() for tail in tails):
                select.select([], [], [], LOOK_EVERY)
    except KeyboardInterrupt:
        pass
    return 0


def _path(app: Entry) -> Path:
    return Path(app.state.get("log") or app.path / "log")


class Tail:
    """One log."""

    def __init__(self, name: str, path: Path) -> None:
        self._prefix = f"{name}: " if name else ""
        self._path = path
        self._file = self._open()

    def last(self, count: int) -> None:
        """The last lines so far."""
        if self._file is not None:
            for line in deque(self._file, maxlen=max(count, 0)):
                self._print(line)

    def more(self) -> bool:
        """Lines that came since; whether there were any."""
        found = False
        if self._file is not None:
            for line in self._file:
                self._print(line)
                found = True
        if not found and self._was_replaced():
            self._file = self._open()
            found = self._file is not None
        return found

    def _open(self) -> IO[str] | None:
        try:
            return open(self._path, errors="replace")
        except FileNotFoundError:
            return None

    def _was_replaced(self) -> bool:
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            return False
        if self._file is None:
            return True
        known = os.fstat(self._file.fileno())
        if not os.path.samestat(now, known):
            return True
        if now.st_size < self._file.tell():
            self._file.seek(0)  # emptied
        return False

    def _print(self, line: str) -> None:
        print(f"{self._prefix}{line}", end="" if line.endswith("\n") else "\n", flush=True)
        sys.stdout.flush()
