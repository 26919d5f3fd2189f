"""What the watcher tells the master: one JSON object a line. PURE.

{"count": 3, "changed": ["app.py", "views.py"]}    so many files, and the first of them
{"trouble": "…"}                                   it cannot watch; it ends
"""

import json
from collections.abc import Collection
from dataclasses import dataclass

MOST_NAMES = 3


@dataclass(frozen=True, slots=True)
class Changed:
    """Files that changed. ``names``: some of them."""

    count: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.names) else ""
        files = "1 file" if self.count == 1 else f"{self.count} files"
        return f"{files} changed ({', '.join(self.names)}{more})"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why it cannot watch."""

    text: str


def changed(paths: Collection[str]) -> bytes:
    """One line about these files."""
    names = [path.encode("utf-8", "replace").decode() for path in sorted(paths)[:MOST_NAMES]]
    return json.dumps({"count": len(paths), "changed": names}).encode() + b"\n"


def trouble(text: str) -> bytes:
    """One line."""
    return json.dumps({"trouble": text}).encode() + b"\n"


def read(line: bytes) -> Changed | Trouble:
    """What a line says; the watcher is ours, so it is a right one."""
    said = json.loads(line)
    if "trouble" in said:
        return Trouble(said["trouble"])
    return Changed(said["count"], tuple(said["changed"]))
