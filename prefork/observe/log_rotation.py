"""When a log is rotated, what the old ones are called, and which of them go. Touches no files.

The log ``web.out`` becomes ``web.out.1``, the next ``web.out.2``, and each soon ``web.out.1.gz``:
a name, once given, always means the same lines.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """The settings. Sizes are bytes, times seconds; None: not by that. ``by_slot``: each slot has a
    log of its own."""

    format: str = "text"
    size: int | None = None
    age: float | None = None
    keep: int = 10
    total: int | None = None
    by_slot: bool = False

    def is_due(self, size: int, more: int, age: float) -> bool:
        """Whether a log of that size and age is rotated before ``more`` bytes go into it."""
        if size == 0:
            return False  # also when one record alone is too large: it has to be somewhere
        too_large = self.size is not None and size + more > self.size
        return too_large or (self.age is not None and age >= self.age)


@dataclass(frozen=True, slots=True, order=True)
class RotatedLog:
    """A rotated log. Of two with the same number the compressed one is whole."""

    number: int
    name: str
    size: int = 0

    @property
    def is_compressed(self) -> bool:
        """By its name."""
        return self.name.endswith(".gz")


def find_rotated(name: str, found: Iterable[tuple[str, int]]) -> list[RotatedLog]:
    """Those of the log ``name`` among files with their sizes, oldest first; each number once."""
    pattern = re.compile(re.escape(name) + r"\.([1-9][0-9]{0,14})(?:\.gz)?")
    logs: dict[int, RotatedLog] = {}
    for each, size in sorted(found):  # ".gz" sorts after the plain one, and replaces it
        if match := pattern.fullmatch(each):
            logs[int(match[1])] = RotatedLog(int(match[1]), each, size)
    return sorted(logs.values())


def next_number(logs: list[RotatedLog]) -> int:
    """For the log that is rotated next."""
    return logs[-1].number + 1 if logs else 1


def select_expired(
    rotation: RotationPolicy, logs: list[RotatedLog], current: int
) -> list[RotatedLog]:
    """Those to remove, oldest first: beyond the count, or the total with ``current`` bytes more."""
    expired = logs[: max(0, len(logs) - rotation.keep)]
    kept = logs[len(expired) :]
    total = current + sum(old.size for old in kept)
    while kept and rotation.total is not None and total > rotation.total:
        total -= kept[0].size
        expired.append(kept.pop(0))
    return expired
