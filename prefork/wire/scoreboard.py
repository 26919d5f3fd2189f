"""The layout of the scoreboard: shared memory, one row per worker, one writer per field. PURE.

Its fields are declared in wire/fields.py. It has two parts, each in memory of its own
(unix/scoreboard.py):

- The master's part, which no other process can write: the head, then one record per row with the
  fields whose writer is ``master``.
- The workers' part, which every worker can write: the loads, one word per row (http/load.py), next
  to each other because every worker reads all of them when it accepts; then the rows with the
  fields whose writer is ``worker``.

The master assigns a row to a worker before the fork and frees it after the worker was reaped.

Design
------
- **No pointers and no locks.** Every field is eight aligned bytes, which x86-64 and arm64 store and
  load whole: a reader sees an old value or a new one, never a mixture. Fields that belong together
  are written between two steps of ``sequence`` (a seqlock): it is odd while they are written, and
  a reader that finds it odd or changed reads again.
- **Workers are not trusted.** A hostile worker may leave any bits in the workers' part at any time.
  Readers take its numbers through ``plausible_count`` and ``plausible_time``: a value that no
  worker could have written (NaN, negative, huge) reads as zero.
- **A row belongs to a worker, not to a slot.** A new worker has the slot number of the one that it
  replaces from its fork on, so two workers of one slot run at the same time.
- **``due`` is the time for which the next heartbeat is planned.** Siblings, the autoscaler and
  readers judge a worker by it, because an idle worker beats seldom.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from prefork.wire import histogram
from prefork.wire.fields import FIELDS, HEAD

ROWS = 4096
"""Number of rows. A row takes no memory until it is written, so there are more than needed."""

VERSION = 2
"""The version of the layout, one digit (versions.py)."""

_NAME = b"prefork"

MAGIC = int.from_bytes(_NAME + str(VERSION).encode(), "little")
"""The first field of the head: it identifies a scoreboard, and its last character is VERSION."""

MASTER_FIELDS = tuple(field for field in FIELDS if field.writer == "master")
"""The fields of a record in the master's part."""

WORKER_FIELDS = tuple(field for field in FIELDS if field.writer == "worker")
"""The fields of a row in the workers' part."""

FIELD_SIZE = 8
HEAD_SIZE = 4096
RECORD_SIZE = 64
MASTER_SIZE = HEAD_SIZE + ROWS * RECORD_SIZE
"""Size of the master's part in bytes."""

LOADS_SIZE = ROWS * FIELD_SIZE
ROW_SIZE = 2048
FIRST_ROW = LOADS_SIZE
SIZE = FIRST_ROW + ROWS * ROW_SIZE
"""Size of the workers' part in bytes."""

HEAD_INDEX = {field.name: index for index, field in enumerate(HEAD)}
"""Position of each field in the head, in units of FIELD_SIZE."""

FIELD_INDEX = {
    field.name: index
    for fields in (MASTER_FIELDS, WORKER_FIELDS)
    for index, field in enumerate(fields)
}
"""Position of each field in its record of the master's part, or in its row of the workers' part, in
units of FIELD_SIZE."""

HISTOGRAM_INDEX = 48
"""Position of the histogram of response times in a row, in units of FIELD_SIZE: one counter per
bucket."""

TIMES = "times"
"""The name of the histogram in a row that is read."""

_UNCOUNTED_BITS = {
    **{field.name: 1 << index for index, field in enumerate(WORKER_FIELDS)},
    TIMES: 1 << 62,  # below the bit that makes a number implausible
}
"""The bit of each field, and of the histogram, in the field ``uncounted``."""

CONNECTION_FIELDS = ("in_flight", "connections", "accepted")
"""The fields that a ``main(listener)`` counts: prefork sees its connections, and no requests."""

REQUEST_FIELDS = (
    *("requests", "oldest", "accept_wait", "accept_asked", "unanswered", "sent", "busy", "lag"),
    *(f"answered_{digit}xx" for digit in "12345"),
    *("took", "rate", TIMES),
)
"""The fields that only a worker which sees requests counts, beside those above."""

ALIVE_FIELDS = ("beat", "due", "working", "store_dropped")
"""The fields that any Python worker writes, and no program."""

assert len(MASTER_FIELDS) * FIELD_SIZE <= RECORD_SIZE
assert len(WORKER_FIELDS) <= HISTOGRAM_INDEX
assert (HISTOGRAM_INDEX + histogram.BUCKET_COUNT) * FIELD_SIZE <= ROW_SIZE

MAX_COUNT = 2**63 - 1
MAX_TIME = 1e12
"""Limit in seconds, or requests per second: far above all real values, and its sums stay finite."""


def plausible_count(count: int) -> int:
    """Return a count from the workers' part; 0 for one that no worker can reach."""
    return count if count <= MAX_COUNT else 0


def plausible_time(time: float) -> float:
    """Return a float from the workers' part; 0.0 for NaN, a negative or a huge value."""
    return time if 0.0 <= time <= MAX_TIME else 0.0


def uncounted_bits(names: Iterable[str]) -> int:
    """Return ``uncounted`` for a worker whose fields of these names no process counts."""
    return sum(_UNCOUNTED_BITS[name] for name in set(names))


NOTHING_COUNTED = uncounted_bits((*CONNECTION_FIELDS, *REQUEST_FIELDS, *ALIVE_FIELDS))
"""``uncounted`` of a worker whose fields no process counts: a program that reports none."""


def is_counted(row: Mapping[str, Any], name: str) -> bool:
    """Return whether the worker of a row counts the field ``name``, or the histogram ``times``."""
    return not row["uncounted"] & _UNCOUNTED_BITS.get(name, 0)


def check_magic(magic: int) -> None:
    """Raise ValueError, which says why, unless ``magic`` begins a scoreboard of this version."""
    found = magic.to_bytes(FIELD_SIZE, "little")
    if magic == MAGIC:
        return
    if found.startswith(_NAME):
        version = found.removeprefix(_NAME).decode("latin-1")
        raise ValueError(
            f"a scoreboard of version {version!a}, and this prefork reads version {VERSION}"
        )
    raise ValueError("not a scoreboard")


def row_offset(row: int) -> int:
    """Return the offset of a row in the workers' part, in bytes. Raises IndexError for a number
    that is no row."""
    return FIRST_ROW + _check_row(row) * ROW_SIZE


def record_offset(row: int) -> int:
    """Return the offset of a row's record in the master's part, in bytes. Raises IndexError for a
    number that is no row."""
    return HEAD_SIZE + _check_row(row) * RECORD_SIZE


def _check_row(row: int) -> int:
    if not 0 <= row < ROWS:
        raise IndexError(f"scoreboard row {row} of {ROWS}")
    return row
