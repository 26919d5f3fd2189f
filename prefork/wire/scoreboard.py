"""The layout of the scoreboard: shared memory, one row per worker, one writer per field. PURE.

The scoreboard has two parts, each in memory of its own (unix/scoreboard.py):

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

from dataclasses import dataclass

from prefork.wire import histogram

ROWS = 4096
"""Number of rows. A row takes no memory until it is written, so there are more than needed."""

VERSION = 2
"""The version of the layout, one digit (versions.py)."""

_NAME = b"prefork"

MAGIC = int.from_bytes(_NAME + str(VERSION).encode(), "little")
"""The first field of the head: it identifies a scoreboard, and its last character is VERSION."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field. ``code``: its type as in ``struct``; ``writer``: ``master`` or ``worker``;
    ``unit`` and ``text``: its help; ``kind``: its type as a metric, ``counter`` or ``gauge``,
    empty for a field that is no metric."""

    name: str
    code: str
    unit: str
    writer: str
    text: str
    kind: str = ""


HEAD = (
    Field("magic", "Q", "", "master", "version of the layout"),
    Field("pid", "Q", "", "master", "process id of the master"),
    Field("began", "d", "s", "master", "when the master started (Unix time)", "gauge"),
    Field("state", "Q", "", "master", "state of the master: see STATES"),
    Field("rows", "Q", "", "master", "number of rows, from the first one on, that may be in use"),
    Field("target", "Q", "", "master", "number of workers that the master wants to run", "gauge"),
    Field("generation", "Q", "", "master", "generation that the workers should have", "gauge"),
    Field("reloads", "Q", "", "master", "completed reloads", "counter"),
    Field("failures", "Q", "", "master", "failed reloads", "counter"),
    Field("restarts", "Q", "", "master", "workers replaced because they died", "counter"),
    Field("workers_fd", "Q", "", "master", "the master's descriptor of the workers' part"),
)

FIELDS = (
    Field("worker", "Q", "", "master", "serial number of the worker that owns the row; 0: free"),
    Field("slot", "Q", "", "master", "number of the slot, from 0; a replacement has the same"),
    Field("generation", "Q", "", "master", "generation of the worker; counts reloads from 1"),
    Field("pid", "Q", "", "master", "process id of the worker"),
    Field("state", "Q", "", "master", "state of the worker: see WORKER_STATES"),
    Field("born", "d", "s", "master", "when it was forked (Unix time)"),
    Field("ends", "Q", "", "master", "1: the service ends, no other worker takes over"),
    Field("outdated", "Q", "", "master", "1: a reload or a recycling replaces the worker"),
    Field("sequence", "Q", "", "worker", "odd while the fields below are being written"),
    Field(
        "deadline", "d", "s", "worker", "monotonic time by which the next heartbeat must have come"
    ),
    Field("beat", "d", "s", "worker", "monotonic time of the last heartbeat"),
    Field("requests", "Q", "", "worker", "requests answered since the worker started", "counter"),
    Field("in_flight", "Q", "", "worker", "requests being answered", "gauge"),
    Field("connections", "Q", "", "worker", "open connections", "gauge"),
    Field(
        "oldest", "d", "s", "worker", "start of the longest request in flight (monotonic); 0: none"
    ),
    Field("accepted", "Q", "", "worker", "connections accepted", "counter"),
    Field(
        "accept_wait",
        "d",
        "s",
        "worker",
        "time in the listen queue, of the connections that were measured",
        "counter",
    ),
    Field(
        "accept_asked",
        "Q",
        "",
        "worker",
        "connections whose time in the listen queue was measured",
        "counter",
    ),
    Field(
        "answered_1xx", "Q", "", "worker", "requests that switched to another protocol", "counter"
    ),
    Field("answered_2xx", "Q", "", "worker", "requests answered with success", "counter"),
    Field("answered_3xx", "Q", "", "worker", "requests answered with a redirection", "counter"),
    Field("answered_4xx", "Q", "", "worker", "requests answered with a client error", "counter"),
    Field("answered_5xx", "Q", "", "worker", "requests answered with a server error", "counter"),
    Field(
        "unanswered",
        "Q",
        "",
        "worker",
        "requests whose client disconnected before the response began",
        "counter",
    ),
    Field("sent", "Q", "bytes", "worker", "bytes of response bodies", "counter"),
    Field(
        "busy",
        "d",
        "s",
        "worker",
        "time in which the worker could not have begun another request",
        "counter",
    ),
    Field(
        "lag", "d", "s", "worker", "lateness of the event loop, maximum of the last second", "gauge"
    ),
    Field("took", "d", "s", "worker", "sum of the durations of all requests", "counter"),
    Field("shares", "Q", "", "worker", "1: the worker takes connections that siblings hand off"),
    Field("rate", "d", "1/s", "worker", "requests per second, recently", "gauge"),
    Field(
        "working",
        "Q",
        "",
        "worker",
        "pieces of work in progress that the app marked with prefork.busy()",
        "gauge",
    ),
    Field("due", "d", "s", "worker", "monotonic time for which the next heartbeat is planned"),
)

STATES = ("", "starting", "running", "reloading", "frozen", "stopping")
WORKER_STATES = ("", "spawning", "booting", "ready", "draining", "hung", "killed")

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
