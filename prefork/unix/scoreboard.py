"""The scoreboard in memory: created by the master before it forks, shared with all workers.

It has two parts, each in an unnamed file (unix/shared_memory.py). The master writes its own part,
which children can only read. All workers can write the workers' part. No worker has a descriptor of
either file. wire/scoreboard.py defines the layout.

Other processes of the same user find both files by the master's descriptors (/proc/PID/fd), which
vanish with the master. Reading or writing a field is one indexed access on a memoryview, about 40
ns.

Design
------
- **A memfd, not a file in the registry.** The registry may be on a disk, and a worker that writes
  to a page which the kernel is just writing back waits for that disk, in the middle of a request. A
  memfd never outlives the master.
- **Two parts, because workers are not trusted.** With one file that all processes could resize, any
  worker could kill a root master (SIGBUS). The mapping that children inherit comes from a
  descriptor that was opened for reading; the writable one is not inherited (MADV_DONTFORK); no
  child keeps a descriptor. Numbers in the workers' part are read as zero where no worker could have
  written them (NaN, negative, huge).
"""

import heapq
import mmap
import os
from collections.abc import Iterator, Mapping
from time import CLOCK_BOOTTIME, clock_gettime
from typing import Any, TypeAlias

from prefork.http.load import UNAVAILABLE, count_requests
from prefork.unix import shared_memory
from prefork.wire import histogram
from prefork.wire.fields import HEAD, Field
from prefork.wire.scoreboard import (
    FIELD_INDEX,
    FIELD_SIZE,
    HEAD_INDEX,
    HISTOGRAM_INDEX,
    LOADS_SIZE,
    MAGIC,
    MASTER_FIELDS,
    MASTER_SIZE,
    RECORD_SIZE,
    ROW_SIZE,
    ROWS,
    SIZE,
    WORKER_FIELDS,
    check_magic,
    plausible_count,
    plausible_time,
    record_offset,
    row_offset,
)

WORKER = FIELD_INDEX["worker"]
ENDS = FIELD_INDEX["ends"]
OUTDATED = FIELD_INDEX["outdated"]
STATE = FIELD_INDEX["state"]
"""Indexes of fields in a record of the master's part."""

LEADER = HEAD_INDEX["leader"]
LEADER_TOKEN = HEAD_INDEX["leader_token"]
"""Indexes of fields in the head."""

DEADLINE = FIELD_INDEX["deadline"]
BEAT = FIELD_INDEX["beat"]
DUE = FIELD_INDEX["due"]
SEQUENCE = FIELD_INDEX["sequence"]
SHARES = FIELD_INDEX["shares"]
WORKING = FIELD_INDEX["working"]
LEASE = FIELD_INDEX["lease"]
LEASE_TOKEN = FIELD_INDEX["lease_token"]
LEASE_UNTIL = FIELD_INDEX["lease_until"]
UNCOUNTED = FIELD_INDEX["uncounted"]
HIDDEN_LOAD = FIELD_INDEX["hidden_load"]
"""Indexes of fields in a row of the workers' part."""

_ROWS_USED = HEAD_INDEX["rows"]
"""The index of the number of rows in use, in the head."""
_CODES = {field.name: field.code for field in (*HEAD, *MASTER_FIELDS)}
"""The type of each field that the master writes: d (double) or Q (unsigned 64 bits)."""

_Counts: TypeAlias = "memoryview[int]"

MAX_READS = 10
"""How often a row is read again while its worker is writing it; then it is taken as it is.

A worker writes for about 20 µs and a read takes as long. A worker that never finishes its write
must not stop a reader.
"""


class Row:
    """One row as its worker writes it: ``floats[DEADLINE]``, ``counts[REQUESTS]``.

    ``record`` is the part that the master writes about this worker, read-only: ``record[ENDS]``.
    """

    __slots__ = ("_bytes", "counts", "floats", "loads", "number", "own_words", "record", "rows")

    def __init__(self, master: memoryview, workers: memoryview, number: int) -> None:
        start = row_offset(number)
        part = self._bytes = workers[start : start + ROW_SIZE]
        self.number = number
        self.floats = part.cast("d")
        self.counts = part.cast("Q")
        self.loads = workers[:LOADS_SIZE].cast("Q")
        """The loads of all workers; the own one is at ``number``."""
        self.own_words = self.counts[HIDDEN_LOAD : HIDDEN_LOAD + 2]
        """The words of the own load that siblings do not see (http/load.py)."""
        record = record_offset(number)
        self.record = master[record : record + RECORD_SIZE].toreadonly().cast("Q")
        self.rows = Rows(master, workers)
        """The rows of all workers, read-only."""

    def read(self) -> dict[str, Any]:
        """Return the fields of this row by name, as ``Rows.row`` does."""
        return self.rows.row(self.number)

    def clear(self) -> None:
        """Set every field to zero, whatever the last owner of the row left there."""
        self.loads[self.number] = UNAVAILABLE
        self._bytes[:] = bytes(ROW_SIZE)

    def make_private(self) -> None:
        """Replace the workers' part by private memory of zeros, for all objects that use it.

        Called in a process that a worker forked, so that it cannot write to the scoreboard.
        """
        shared_memory.make_private(self.loads, SIZE)


class Rows:
    """The head and all rows, for a process that only reads.

    Numbers of workers are checked: each is one that a worker could have written.
    """

    __slots__ = ("counts", "floats", "master_counts", "master_floats")

    def __init__(self, master: memoryview, workers: memoryview) -> None:
        self.master_counts = master.toreadonly().cast("Q")
        self.master_floats = master.toreadonly().cast("d")
        self.counts = workers.toreadonly().cast("Q")
        self.floats = workers.toreadonly().cast("d")

    @property
    def used(self) -> int:
        """The number of rows that may be in use, counted from the first."""
        return min(self.master_counts[_ROWS_USED], ROWS)  # the master may be another user's

    def is_only_worker(self, row: int) -> bool:
        """Return whether no other row belongs to a worker."""
        return not any(
            self.master_counts[record_offset(other) // FIELD_SIZE + WORKER]
            for other in range(self.used)
            if other != row
        )

    def has_other_sharing_worker(self, row: int) -> bool:
        """Return whether another worker takes connections from the shared queue."""
        return any(
            self.counts[row_offset(other) // FIELD_SIZE + SHARES]
            for other in range(self.used)
            if other != row
        )

    def is_outdated(self, row: int) -> bool:
        """Return whether the worker of this row is to be replaced."""
        return bool(self.master_counts[record_offset(row) // FIELD_SIZE + OUTDATED])

    def last_beat_at(self, row: int) -> float:
        """Return the time of the worker's last heartbeat (monotonic, seconds)."""
        return float(self.floats[row_offset(row) // FIELD_SIZE + BEAT])

    def next_beat_at(self, row: int) -> float:
        """Return the planned time of the worker's next heartbeat (monotonic, seconds)."""
        return float(self.floats[row_offset(row) // FIELD_SIZE + DUE])

    def head(self) -> dict[str, Any]:
        """Return the fields of the head by name."""
        return _read_fields(HEAD, self.master_counts, self.master_floats, 0)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield each row in use as a dict of its fields.

        Beside the fields it has ``load``, ``times`` (the histogram), ``leads`` (1: the worker is
        the leader) and ``torn``: the worker was in the middle of writing.
        """
        for number in range(self.used):
            if self.master_counts[record_offset(number) // FIELD_SIZE + WORKER]:
                yield self.row(number)

    def row(self, number: int) -> dict[str, Any]:
        """Return the fields of one row by name."""
        row = self._worker_fields(number)
        start = record_offset(number) // FIELD_SIZE
        row.update(_read_fields(MASTER_FIELDS, self.master_counts, self.master_floats, start))
        row["named"] = int(0 != row["worker"] == self.master_counts[LEADER])
        row["leads"] = int(row["named"] and _has_lease(row))
        row["row"] = number
        row["load"] = self.counts[number]
        _add_current_requests(row)
        return row

    def _worker_fields(self, number: int) -> dict[str, Any]:
        """Return the worker's fields, read until they are consistent, at most MAX_READS times."""
        start = row_offset(number) // FIELD_SIZE
        times = start + HISTOGRAM_INDEX
        for _ in range(MAX_READS):
            # A sequence lock: the worker makes the number odd before it writes and even after it.
            before = self.counts[start + SEQUENCE]
            row = _read_fields(WORKER_FIELDS, self.counts, self.floats, start)
            times_counts = self.counts[times : times + histogram.BUCKET_COUNT].tolist()
            torn = bool(before & 1) or before != self.counts[start + SEQUENCE]
            if not torn:
                break
        row = {
            name: plausible_time(value) if isinstance(value, float) else plausible_count(value)
            for name, value in row.items()
        }
        return {**row, "times": list(map(plausible_count, times_counts)), "torn": torn}


def _add_current_requests(row: dict[str, Any]) -> None:
    """Replace the requests in flight of the last heartbeat by those of this moment.

    A call that blocks the loop comes after a heartbeat and before the next one is due. So it is as
    old as that heartbeat is late, or up to a tick older.
    """
    current = count_requests(row["load"], row["hidden_load"], row["expected"])
    if current is None:
        return
    row["in_flight"] = current
    if not current:
        row["oldest"] = 0.0
    elif not row["oldest"]:
        row["oldest"] = row["due"]


def _has_lease(row: Mapping[str, Any]) -> bool:
    """Return whether a worker has the lease of the leader, or needs none."""
    if row["lease"] == 0:
        return True
    is_held: bool = row["lease_token"] > 0 and clock_gettime(CLOCK_BOOTTIME) < row["lease_until"]
    return is_held


def _read_fields(
    fields: tuple[Field, ...], counts: _Counts, floats: "memoryview[float]", start: int
) -> dict[str, Any]:
    """Return the values of ``fields``, which begin at the index ``start``, by name."""
    return {
        field.name: (floats if field.code == "d" else counts)[start + index]
        for index, field in enumerate(fields)
    }


EMPTY_ROW: dict[str, Any] = {
    **{f.name: 0.0 if f.code == "d" else 0 for f in (*MASTER_FIELDS, *WORKER_FIELDS)},
    "times": [0] * histogram.BUCKET_COUNT,
    "torn": False,
    "named": 0,
    "leads": 0,
    "row": 0,
    "load": UNAVAILABLE,
}
"""The fields of a worker that is gone."""


class Scoreboard:
    """The whole scoreboard, in the master, which alone acquires and releases rows.

    Raises MachineError.
    """

    def __init__(self) -> None:
        self.fd = shared_memory.create_sealed_file("prefork-master", MASTER_SIZE)
        self._workers_fd = shared_memory.create_sealed_file("prefork-workers", SIZE)
        # Children inherit the other two mappings; only the master has this one.
        own = shared_memory.map_writable(self.fd, MASTER_SIZE, inherited=False)
        self._counts, self._floats = own.cast("Q"), own.cast("d")
        self._master = shared_memory.map_read_only(self.fd, MASTER_SIZE)
        self._workers = shared_memory.map_writable(self._workers_fd, SIZE, inherited=True)
        self.rows = Rows(self._master, self._workers)
        # A heap: the lowest free row is taken first, so that readers scan few rows.
        self._free = list(range(ROWS))
        self.set_head_fields(magic=MAGIC, pid=os.getpid(), workers_fd=self._workers_fd)

    @property
    def path(self) -> str:
        """The path by which other processes of this user find it as long as the master lives."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def descriptors(self) -> dict[str, int]:
        """Return the descriptors of both files, by role."""
        return {"scoreboard": self.fd, "scoreboard_workers": self._workers_fd}

    def set_head_fields(self, **fields: float) -> None:
        """Write fields of the head."""
        for name, value in fields.items():
            self._write(name, HEAD_INDEX[name], value)

    def set_row_fields(self, row: Row, **fields: float) -> None:
        """Write fields of the master's part of a row."""
        start = record_offset(row.number) // FIELD_SIZE
        for name, value in fields.items():
            self._write(name, start + FIELD_INDEX[name], value)

    def _write(self, name: str, index: int, value: float) -> None:
        if _CODES[name] == "d":
            self._floats[index] = value
        else:
            self._counts[index] = int(value)

    def acquire_row(self, worker: int) -> Row:
        """Return a cleared row for a new worker: the first one that is free.

        ``worker``: the serial number that the master gave it, which is never 0.
        """
        row = Row(self._master, self._workers, heapq.heappop(self._free))
        self._clear(row)
        self.set_row_fields(row, worker=worker)
        self.set_head_fields(rows=max(self.rows.used, row.number + 1))
        return row

    def release_row(self, row: Row) -> None:
        """Free a row, after its worker was reaped.

        A process that this worker forked may still write there, so the row is cleared again when it
        is acquired.
        """
        self._clear(row)
        heapq.heappush(self._free, row.number)

    def _clear(self, row: Row) -> None:
        self.set_row_fields(row, **dict.fromkeys((field.name for field in MASTER_FIELDS), 0))
        row.clear()

    def close_copy(self) -> None:
        """Close the descriptors in a child that has its row; the mappings stay."""
        del self._counts, self._floats  # in a child nothing is mapped at these addresses
        os.close(self.fd)
        os.close(self._workers_fd)


def open_scoreboard(path: str) -> Rows:
    """Open the scoreboard of another process for reading.

    Raises OSError when it is gone, ValueError when the file is no scoreboard of this version.
    """
    head = _map_file(path, MASTER_SIZE)
    counts = head.cast("Q")
    check_magic(counts[0])
    workers_path = f"{os.path.dirname(path)}/{counts[HEAD_INDEX['workers_fd']]}"
    return Rows(head, _map_file(workers_path, SIZE))


def _map_file(path: str, size: int) -> memoryview:
    """Map one of the files read-only, with Python's mmap: this mapping ends with its last
    reader."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not shared_memory.is_sealed(fd):
            raise ValueError(f"{path} is not a scoreboard: its size may change")
        return memoryview(mmap.mmap(fd, size, prot=mmap.PROT_READ))
    finally:
        os.close(fd)
