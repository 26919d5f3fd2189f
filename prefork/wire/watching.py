"""What the watcher tells the master: one JSON object a line. PURE.

    {"watching": ["/srv/app"]}                       it watches these from now on
    {"count": 3, "changed": ["app.py", "views.py"]}  so many files, and the first of them
    {"trouble": "…"}                                 it cannot watch; it ends

The watcher is ours and runs no app code, so its lines are right ones. A file's name is shown as one
line, whatever is in it.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from prefork.counted import counted
from prefork.printable import printable_line

MOST_NAMES = 3


@dataclass(frozen=True, slots=True)
class Watching:
    """It began. ``roots``: what it watches."""

    roots: tuple[str, ...]

    def __str__(self) -> str:
        return f"watching {', '.join(self.roots)}"


@dataclass(frozen=True, slots=True)
class Changed:
    """Files that changed. ``names``: some of them."""

    count: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.names) else ""
        files = counted(self.count, "file")
        return f"{files} changed ({', '.join(self.names)}{more})"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why it cannot watch."""

    text: str


def watching(roots: Iterable[str]) -> bytes:
    """One line about these folders."""
    return _line({"watching": list(map(printable_line, roots))})


def changed(paths: Collection[str]) -> bytes:
    """One line about these files."""
    return _line(
        {"count": len(paths), "changed": list(map(printable_line, sorted(paths)[:MOST_NAMES]))}
    )


def trouble(text: str) -> bytes:
    """One line."""
    return _line({"trouble": text})


def read(line: bytes) -> Watching | Changed | Trouble:
    """What a line says."""
    said = json.loads(line)
    if "trouble" in said:
        return Trouble(said["trouble"])
    if "watching" in said:
        return Watching(tuple(said["watching"]))
    return Changed(said["count"], tuple(said["changed"]))


def _line(said: dict[str, object]) -> bytes:
    return json.dumps(said).encode() + b"\n"
