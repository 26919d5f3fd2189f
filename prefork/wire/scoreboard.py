"""The layout of the scoreboard: shared memory, one row a worker, each field with one writer. PURE.

No pointers and no locks: every field is eight aligned bytes, which x86-64 and arm64 store and load
whole, so a reader sees an old value or a new one, never half of each. What must be seen together is
published between two steps of ``sequence``: odd while it is written, so that a reader who finds it
odd or changed reads again. The master hands a row to a worker before the fork and takes it back
after it was reaped; ``worker`` tells whose row it is.

There are two parts, each in memory of its own (unix/scoreboard.py). The master's part, which no
other process can write: the head, then one record a row with the fields whose writer is ``master``.
The workers' part, which every worker can write: the loads, one word a row (http/load.py), close
together because every worker reads all of them when it accepts; then the rows with the fields
whose writer is ``worker``. A hostile worker may leave any bits in the workers' part at any time,
so readers take its numbers through ``plausible_count`` and ``plausible_time``.
"""

from dataclasses import dataclass

from prefork.wire import histogram

ROWS = 4096
"""Rows are only addresses until they are touched, so there are plenty."""

MAGIC = int.from_bytes(b"prefork2", "little")
"""The last letter is the version of the layout."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: ``code`` as in ``struct``; ``writer`` is ``master`` or ``worker``; ``unit`` and
    ``text`` are for readers; ``kind`` is what it is as a metric: a counter only grows."""

    name: str
    code: str
    unit: str
    writer: str
    text: str
    kind: str = ""


HEAD = (
    Field("magic", "Q", "", "master", "which layout this is"),
    Field("pid", "Q", "", "master", "of the master"),
    Field("began", "d", "s", "master", "when the master began (Unix time)", "gauge"),
    Field("state", "Q", "", "master", "of the master: see STATES"),
    Field("rows", "Q", "", "master", "rows from the first on that may be in use"),
    Field("target", "Q", "", "master", "workers that are wanted", "gauge"),
    Field("generation", "Q", "", "master", "that is wanted", "gauge"),
    Field("reloads", "Q", "", "master", "reloads that reached their end", "counter"),
    Field("failures", "Q", "", "master", "reloads that failed", "counter"),
    Field("restarts", "Q", "", "master", "workers replaced because they died", "counter"),
    Field("workers_fd", "Q", "", "master", "the master's descriptor of the workers' part"),
)

FIELDS = (
    Field("worker", "Q", "", "master", "serial number of the worker that owns the row; 0: free"),
    Field("slot", "Q", "", "master", "from 0; a replacement inherits it"),
    Field("generation", "Q", "", "master", "counts reloads from 1"),
    Field("pid", "Q", "", "master", "of the process"),
    Field("state", "Q", "", "master", "of the worker: see WORKER_STATES"),
    Field("born", "d", "s", "master", "when it was forked (Unix time)"),
    Field("ends", "Q", "", "master", "1: the service ends, nobody takes over from the worker"),
    Field("outdated", "Q", "", "master", "1: it is to be replaced, by a reload or a recycle"),
    Field("sequence", "Q", "", "worker", "odd while the fields below are being written"),
    Field("deadline", "d", "s", "worker", "monotonic time by which it will have beaten again"),
    Field("beat", "d", "s", "worker", "monotonic time of its last beat"),
    Field("requests", "Q", "", "worker", "requests answered since it began", "counter"),
    Field("in_flight", "Q", "", "worker", "requests being answered", "gauge"),
    Field("connections", "Q", "", "worker", "open connections", "gauge"),
    Field("oldest", "d", "s", "worker", "when the longest request began (monotonic); 0: none"),
    Field("accepted", "Q", "", "worker", "connections accepted", "counter"),
    Field(
        "accept_wait", "d", "s", "worker", "waited in the queue by those it asked about", "counter"
    ),
    Field(
        "accept_asked",
        "Q",
        "",
        "worker",
        "connections whose time in the queue was asked",
        "counter",
    ),
    Field("answered_1xx", "Q", "", "worker", "requests that became another protocol", "counter"),
    Field("answered_2xx", "Q", "", "worker", "answered with success", "counter"),
    Field("answered_3xx", "Q", "", "worker", "answered with a redirection", "counter"),
    Field("answered_4xx", "Q", "", "worker", "answered with an error of the client's", "counter"),
    Field("answered_5xx", "Q", "", "worker", "answered with an error of the server's", "counter"),
    Field("unanswered", "Q", "", "worker", "whose client left before the answer began", "counter"),
    Field("sent", "Q", "bytes", "worker", "bytes of response bodies", "counter"),
    Field("busy", "d", "s", "worker", "time in which it could not have begun another", "counter"),
    Field(
        "lag", "d", "s", "worker", "by how much its loop was late, most within a second", "gauge"
    ),
    Field("took", "d", "s", "worker", "sum of the times that all requests took", "counter"),
    Field("shares", "Q", "", "worker", "1: it goes on with connections that siblings share"),
    Field("rate", "d", "1/s", "worker", "requests a second, of late", "gauge"),
    Field("working", "Q", "", "worker", "pieces of work that the app marked as such", "gauge"),
    Field("due", "d", "s", "worker", "monotonic time for which its next beat is planned"),
)

STATES = ("", "starting", "running", "reloading", "frozen", "stopping")
WORKER_STATES = ("", "spawning", "booting", "ready", "draining", "hung", "killed")

MASTER_FIELDS = tuple(field for field in FIELDS if field.writer == "master")
"""Of a record in the master's part."""

WORKER_FIELDS = tuple(field for field in FIELDS if field.writer == "worker")
"""Of a row in the workers' part."""

FIELD_SIZE = 8
HEAD_SIZE = 4096
RECORD_SIZE = 64
MASTER_SIZE = HEAD_SIZE + ROWS * RECORD_SIZE
"""Bytes of the master's part."""

LOADS_SIZE = ROWS * FIELD_SIZE
ROW_SIZE = 2048
FIRST_ROW = LOADS_SIZE
SIZE = FIRST_ROW + ROWS * ROW_SIZE
"""Bytes of the workers' part."""

HEAD_INDEX = {field.name: index for index, field in enumerate(HEAD)}
"""Places in the head, in units of FIELD_SIZE."""

FIELD_INDEX = {
    field.name: index
    for fields in (MASTER_FIELDS, WORKER_FIELDS)
    for index, field in enumerate(fields)
}
"""Places in a record of the master's part, or in a row of the workers', in units of FIELD_SIZE."""

HISTOGRAM_INDEX = 48
"""Where the histogram of times begins in a row, in the same units: one counter a bucket."""

assert len(MASTER_FIELDS) * FIELD_SIZE <= RECORD_SIZE
assert len(WORKER_FIELDS) <= HISTOGRAM_INDEX
assert (HISTOGRAM_INDEX + histogram.BUCKET_COUNT) * FIELD_SIZE <= ROW_SIZE

MAX_COUNT = 2**63 - 1
MAX_TIME = 1e12
"""Seconds, or requests a second: far beyond anything real, and sums of it stay finite."""


def plausible_count(count: int) -> int:
    """The count as it stands in the workers' part; 0 for one that no worker reaches."""
    return count if count <= MAX_COUNT else 0


def plausible_time(time: float) -> float:
    """The float as it stands in the workers' part; 0.0 for what is no number, negative or huge."""
    return time if 0.0 <= time <= MAX_TIME else 0.0


def row_offset(row: int) -> int:
    """Where a row begins in the workers' part, in bytes. Raises IndexError beyond the last."""
    return FIRST_ROW + _check_row(row) * ROW_SIZE


def record_offset(row: int) -> int:
    """Where the record of a row begins in the master's part, in bytes. Raises IndexError."""
    return HEAD_SIZE + _check_row(row) * RECORD_SIZE


def _check_row(row: int) -> int:
    if not 0 <= row < ROWS:
        raise IndexError(f"scoreboard row {row} of {ROWS}")
    return row
