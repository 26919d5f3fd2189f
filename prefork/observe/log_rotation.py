"""Decide when a log is rotated, how rotated logs are named, and which are removed. Uses no files.

The log ``web.out`` becomes ``web.out.1``, the next one ``web.out.2``, and each is soon compressed
to ``web.out.1.gz``.

Design
------
- **Rotated files get rising numbers and keep them,** unlike those of logrotate(8). A name always
  means the same lines, and a follower that was stopped knows what it has missed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """The settings of rotation. Sizes are in bytes and times in seconds; None means no limit.

    ``format`` is that of the records, text or json. A log is rotated at ``size`` or ``age``.
    ``keep`` is the maximum number of rotated files, and ``total`` the maximum size of all files
    together. ``by_slot`` says that each slot has a log of its own.
    """

    format: str = "text"
    size: int | None = None
    age: float | None = None
    keep: int = 10
    total: int | None = None
    by_slot: bool = False

    def is_due(self, size: int, more: int, age: float) -> bool:
        """Return whether such a log is rotated before ``more`` bytes are appended."""
        if size == 0:
            return False  # A record that is larger than the limit goes into an empty file.
        too_large = self.size is not None and size + more > self.size
        return too_large or (self.age is not None and age >= self.age)


@dataclass(frozen=True, slots=True, order=True)
class RotatedLog:
    """A rotated log: its number, the name of its file, and the size of the file in bytes."""

    number: int
    name: str
    size: int = 0

    @property
    def is_compressed(self) -> bool:
        """Return whether the file is compressed, by its name."""
        return self.name.endswith(".gz")


def find_rotated(name: str, found: Iterable[tuple[str, int]]) -> list[RotatedLog]:
    """Return the rotated logs of the log ``name`` among files and their sizes, oldest first.

    Each number is returned once.
    """
    pattern = re.compile(re.escape(name) + r"\.([1-9][0-9]{0,14})(?:\.gz)?")
    logs: dict[int, RotatedLog] = {}
    for each, size in sorted(found):  # ".gz" sorts after the plain one, and replaces it
        if match := pattern.fullmatch(each):
            logs[int(match[1])] = RotatedLog(int(match[1]), each, size)
    return sorted(logs.values())


def next_number(logs: list[RotatedLog]) -> int:
    """Return the number of the log that is rotated next."""
    return logs[-1].number + 1 if logs else 1


def select_expired(
    rotation: RotationPolicy, logs: list[RotatedLog], current: int
) -> list[RotatedLog]:
    """Return the rotated logs to remove, oldest first.

    They exceed the number ``keep``, or ``total`` together with ``current``, the size of the log.
    """
    expired = logs[: max(0, len(logs) - rotation.keep)]
    kept = logs[len(expired) :]
    total = current + sum(old.size for old in kept)
    while kept and rotation.total is not None and total > rotation.total:
        total -= kept[0].size
        expired.append(kept.pop(0))
    return expired
