"""The layout of the scoreboard: shared memory, one row a worker, each field with one writer. PURE.

No pointers and no locks: every field is eight aligned bytes, which x86-64 and arm64 store and load
whole, so a reader sees an old value or a new one, never half of each. The master hands a row to
a worker before the fork and takes it back after it was reaped; ``worker`` tells whose row it is.
"""

from dataclasses import dataclass

ROWS = 4096
"""Rows are only addresses until they are touched, so there are plenty."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column: ``writer`` is ``master`` or ``worker``; ``unit`` and ``text`` are for readers."""

    name: str
    code: str
    unit: str
    writer: str
    text: str


FIELDS = (
    Field("worker", "Q", "", "master", "serial number of the worker that owns the row; 0: free"),
    Field("deadline", "d", "s", "worker", "monotonic time by which it will have beaten again"),
    Field("requests", "Q", "", "worker", "requests answered since it began"),
    Field("in_flight", "Q", "", "worker", "requests being answered"),
    Field("connections", "Q", "", "worker", "open connections"),
    Field("ends", "Q", "", "master", "1: the service ends, nobody takes over from the worker"),
)

FIELD_SIZE = 8
ROW_SIZE = 64
SIZE = ROWS * ROW_SIZE

INDEX = {field.name: index for index, field in enumerate(FIELDS)}
"""Column numbers, in units of FIELD_SIZE from the start of the row."""

assert len(FIELDS) * FIELD_SIZE <= ROW_SIZE


def offset(row: int) -> int:
    """Where a row begins, in bytes. Raises IndexError beyond the last."""
    if not 0 <= row < ROWS:
        raise IndexError(f"scoreboard row {row} of {ROWS}")
    return row * ROW_SIZE
