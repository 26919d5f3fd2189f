"""The layout of the scoreboard: shared memory, one row a worker, each field with one writer. PURE.

No pointers and no locks: every field is eight aligned bytes, which x86-64 and arm64 store and load
whole, so a reader sees an old value or a new one, never half of each. What must be seen together is
published between two steps of ``sequence``: odd while it is written, so that a reader who finds it
odd or changed reads again. The master hands a row to a worker before the fork and takes it back
after it was reaped; ``worker`` tells whose row it is.

The parts, in this order: the head, which only the master writes; the loads, one word a row
(http/load.py), close together because every worker reads all of them when it accepts; the rows.
"""

from dataclasses import dataclass

from prefork.wire import histogram

ROWS = 4096
"""Rows are only addresses until they are touched, so there are plenty."""

MAGIC = int.from_bytes(b"prefork1", "little")
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

FIELD_SIZE = 8
HEAD_SIZE = 4096
LOADS_SIZE = ROWS * FIELD_SIZE
ROW_SIZE = 2048
FIRST_ROW = HEAD_SIZE + LOADS_SIZE
SIZE = FIRST_ROW + ROWS * ROW_SIZE

HEAD_INDEX = {field.name: index for index, field in enumerate(HEAD)}
"""Places in the head, in units of FIELD_SIZE."""

INDEX = {field.name: index for index, field in enumerate(FIELDS)}
"""Places in a row, in units of FIELD_SIZE."""

HISTOGRAM = 48
"""Where the histogram of times begins in a row, in the same units: one counter a bucket."""

assert len(FIELDS) <= HISTOGRAM
assert (HISTOGRAM + histogram.BUCKETS) * FIELD_SIZE <= ROW_SIZE


def offset(row: int) -> int:
    """Where a row begins, in bytes. Raises IndexError beyond the last."""
    if not 0 <= row < ROWS:
        raise IndexError(f"scoreboard row {row} of {ROWS}")
    return FIRST_ROW + row * ROW_SIZE
