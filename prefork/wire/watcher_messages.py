"""The messages of the file watcher to the master: one JSON object a line. PURE.

    {"v": 2, "watching": ["/srv/app"]}               it watches these folders from now on
    {"count": 3, "changed": ["app.py", "views.py"]}  number of changed files, and the first of them
    {"trouble": "…"}                                 it cannot watch, and exits

Design
------
- **The master reads the lines as if the watcher were hostile.** It runs no app code, but it passes
  on file names that others chose. A name is shown on one line, whatever characters it has.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from prefork.plural import pluralize
from prefork.printable import printable_line
from prefork.wire.versions import require_known_version, stamp

VERSION = 2
"""The version of the format, the ``v`` of each message (versions.py)."""

MAX_NAMES = 3

MAX_LINE_SIZE = 1024 * 1024
"""Bytes that a line may have; a path has at most 4096, and a line has few paths."""


@dataclass(frozen=True, slots=True)
class WatchStarted:
    """The watcher watches ``roots``."""

    roots: tuple[str, ...]

    def __str__(self) -> str:
        return f"watching {', '.join(self.roots)}"


@dataclass(frozen=True, slots=True)
class FilesChanged:
    """``count`` files changed. ``names``: the first of them."""

    count: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.names) else ""
        files = pluralize(self.count, "file")
        return f"{files} changed ({', '.join(self.names)}{more})"


@dataclass(frozen=True, slots=True)
class WatchFailed:
    """The watcher cannot watch; ``text``: the reason."""

    text: str


def encode_watching(roots: Iterable[str]) -> bytes:
    """Encode the message that these folders are watched."""
    return _line({"watching": list(map(printable_line, roots))})


def encode_changed(paths: Collection[str]) -> bytes:
    """Encode the message that these files changed; only the first names are sent."""
    return _line(
        {"count": len(paths), "changed": list(map(printable_line, sorted(paths)[:MAX_NAMES]))}
    )


def encode_trouble(text: str) -> bytes:
    """Encode the message that the watcher cannot watch, with the reason."""
    return _line({"trouble": text})


def decode_message(line: bytes) -> WatchStarted | FilesChanged | WatchFailed:
    """Decode a message. Raises ValueError when the line is not one."""
    try:
        message = json.loads(line)
    except RecursionError:
        raise ValueError("the line is nested too deeply") from None
    if isinstance(message, dict):
        require_known_version(message, VERSION)
    match message:
        case {"trouble": str(text)}:
            return WatchFailed(text)
        case {"watching": [*roots]} if _is_list_of_names(roots):
            return WatchStarted(tuple(roots))
        case {"count": int(count), "changed": [*names]} if _is_list_of_names(names):
            return FilesChanged(count, tuple(names[:MAX_NAMES]))
    raise ValueError("the line is not a message of a watcher")


def _is_list_of_names(found: list[object]) -> bool:
    return all(isinstance(name, str) for name in found)


def _line(message: dict[str, object]) -> bytes:
    return json.dumps(stamp(VERSION, message)).encode() + b"\n"
