"""What the watcher tells the master: one JSON object a line. PURE.

    {"watching": ["/srv/app"]}                       it watches these from now on
    {"count": 3, "changed": ["app.py", "views.py"]}  so many files, and the first of them
    {"trouble": "…"}                                 it cannot watch; it ends

The watcher is ours and runs no app code, but it reads names of files that others chose: so its
lines are read as if it were hostile, and a file's name is shown as one line, whatever is in it.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from prefork.plural import pluralize
from prefork.printable import printable_line

MAX_NAMES = 3

MAX_LINE_SIZE = 1024 * 1024
"""Bytes of a line; paths are of 4096 at most, and there are few of them."""


@dataclass(frozen=True, slots=True)
class WatchStarted:
    """It began. ``roots``: what it watches."""

    roots: tuple[str, ...]

    def __str__(self) -> str:
        return f"watching {', '.join(self.roots)}"


@dataclass(frozen=True, slots=True)
class FilesChanged:
    """Files that changed. ``names``: some of them."""

    count: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.names) else ""
        files = pluralize(self.count, "file")
        return f"{files} changed ({', '.join(self.names)}{more})"


@dataclass(frozen=True, slots=True)
class WatchFailed:
    """Why it cannot watch."""

    text: str


def encode_watching(roots: Iterable[str]) -> bytes:
    """One line about these folders."""
    return _line({"watching": list(map(printable_line, roots))})


def encode_changed(paths: Collection[str]) -> bytes:
    """One line about these files."""
    return _line(
        {"count": len(paths), "changed": list(map(printable_line, sorted(paths)[:MAX_NAMES]))}
    )


def encode_trouble(text: str) -> bytes:
    """One line."""
    return _line({"trouble": text})


def decode_message(line: bytes) -> WatchStarted | FilesChanged | WatchFailed:
    """What a line says. Raises ValueError when it makes no sense."""
    try:
        message = json.loads(line)
    except RecursionError:
        raise ValueError("a line that is nested too deeply") from None
    match message:
        case {"trouble": str(text)}:
            return WatchFailed(text)
        case {"watching": [*roots]} if _is_list_of_names(roots):
            return WatchStarted(tuple(roots))
        case {"count": int(count), "changed": [*names]} if _is_list_of_names(names):
            return FilesChanged(count, tuple(names[:MAX_NAMES]))
    raise ValueError("a line that says nothing of what a watcher says")


def _is_list_of_names(found: list[object]) -> bool:
    return all(isinstance(name, str) for name in found)


def _line(message: dict[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\n"
