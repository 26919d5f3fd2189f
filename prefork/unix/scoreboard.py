"""The scoreboard in memory: made by the master before it forks, shared with all workers.

It is two files without a name (unix/shared_memory.py), so it is in memory wherever the registry
is: dirty pages of a file on a disk would make a worker wait, in the middle of a request, for that
disk. The master alone can write its part; a child has a mapping of it that can only be read. All
workers can write the workers' part, and none of them has a descriptor of either.

Other processes of the same user find both by the master's descriptors (/proc/PID/fd), which are
gone with the master. Reading and writing a field is one indexed access on a memoryview, about
40 ns.
"""

import heapq
import mmap
import os
from collections.abc import Iterator
from typing import Any, TypeAlias

from prefork.http.load import UNAVAILABLE
from prefork.unix import shared_memory
from prefork.wire import histogram
from prefork.wire.scoreboard import (
    FIELD_INDEX,
    FIELD_SIZE,
    HEAD,
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
    Field,
    plausible_count,
    plausible_time,
    record_offset,
    row_offset,
)

WORKER = FIELD_INDEX["worker"]
ENDS = FIELD_INDEX["ends"]
OUTDATED = FIELD_INDEX["outdated"]
STATE = FIELD_INDEX["state"]
"""In a record of the master's part."""

DEADLINE = FIELD_INDEX["deadline"]
BEAT = FIELD_INDEX["beat"]
DUE = FIELD_INDEX["due"]
SEQUENCE = FIELD_INDEX["sequence"]
SHARES = FIELD_INDEX["shares"]
WORKING = FIELD_INDEX["working"]
"""In a row of the workers' part."""

_ROWS_USED = HEAD_INDEX["rows"]
_CODES = {field.name: field.code for field in (*HEAD, *MASTER_FIELDS)}

_Counts: TypeAlias = "memoryview[int]"

MAX_READS = 10
"""How often a row is read that is being written; then it is taken as it is. A worker writes for
some 20 us and a read takes as long; one that never ends its writing must not hold a reader up."""


class Row:
    """One row, as its worker has it: ``floats[DEADLINE]``, ``counts[REQUESTS]``. ``record``: what
    the master says of that worker, to be read only: ``record[ENDS]``."""

    __slots__ = ("_bytes", "counts", "floats", "loads", "number", "record", "rows")

    def __init__(self, master: memoryview, workers: memoryview, number: int) -> None:
        start = row_offset(number)
        part = self._bytes = workers[start : start + ROW_SIZE]
        self.number = number
        self.floats = part.cast("d")
        self.counts = part.cast("Q")
        self.loads = workers[:LOADS_SIZE].cast("Q")
        """Of all workers; ours is at ``number``."""
        record = record_offset(number)
        self.record = master[record : record + RECORD_SIZE].toreadonly().cast("Q")
        self.rows = Rows(master, workers)
        """Of all workers, to look at."""

    def read(self) -> dict[str, Any]:
        """As ``Rows`` does."""
        return self.rows.row(self.number)

    def clear(self) -> None:
        """Zero every field, whatever the last owner of the row left there."""
        self.loads[self.number] = UNAVAILABLE
        self._bytes[:] = bytes(ROW_SIZE)

    def make_private(self) -> None:
        """In a process that the worker forked: put memory of its own, all zeros, in place of the
        workers' part, under all objects that use it."""
        shared_memory.make_private(self.loads, SIZE)


class Rows:
    """The head and all rows, for a process that only reads. Numbers of workers are plausible ones,
    whatever the workers wrote."""

    __slots__ = ("counts", "floats", "master_counts", "master_floats")

    def __init__(self, master: memoryview, workers: memoryview) -> None:
        self.master_counts = master.toreadonly().cast("Q")
        self.master_floats = master.toreadonly().cast("d")
        self.counts = workers.toreadonly().cast("Q")
        self.floats = workers.toreadonly().cast("d")

    @property
    def used(self) -> int:
        """How many rows may be in use, from the first on."""
        return self.master_counts[_ROWS_USED]

    def is_only_worker(self, row: int) -> bool:
        """Whether no other row belongs to anybody."""
        return not any(
            self.master_counts[record_offset(other) // FIELD_SIZE + WORKER]
            for other in range(self.used)
            if other != row
        )

    def has_other_sharing_worker(self, row: int) -> bool:
        """Whether another worker goes on with connections that are shared."""
        return any(
            self.counts[row_offset(other) // FIELD_SIZE + SHARES]
            for other in range(self.used)
            if other != row
        )

    def is_outdated(self, row: int) -> bool:
        """Whether its worker is to be replaced."""
        return bool(self.master_counts[record_offset(row) // FIELD_SIZE + OUTDATED])

    def last_beat_at(self, row: int) -> float:
        """When its worker beat last (monotonic)."""
        return float(self.floats[row_offset(row) // FIELD_SIZE + BEAT])

    def next_beat_at(self, row: int) -> float:
        """For when its worker has planned its next beat (monotonic)."""
        return float(self.floats[row_offset(row) // FIELD_SIZE + DUE])

    def head(self) -> dict[str, Any]:
        """What the master says, by the names of the fields."""
        return _read_fields(HEAD, self.master_counts, self.master_floats, 0)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Each row in use: its fields by name, ``load``, ``times`` (the histogram), and ``torn``:
        its worker stopped in the middle of writing."""
        for number in range(self.used):
            if self.master_counts[record_offset(number) // FIELD_SIZE + WORKER]:
                yield self.row(number)

    def row(self, number: int) -> dict[str, Any]:
        """One row."""
        row = self._worker_fields(number)
        start = record_offset(number) // FIELD_SIZE
        row.update(_read_fields(MASTER_FIELDS, self.master_counts, self.master_floats, start))
        row["row"] = number
        row["load"] = self.counts[number]
        return row

    def _worker_fields(self, number: int) -> dict[str, Any]:
        start = row_offset(number) // FIELD_SIZE
        times = start + HISTOGRAM_INDEX
        for _ in range(MAX_READS):
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


def _read_fields(
    fields: tuple[Field, ...], counts: _Counts, floats: "memoryview[float]", start: int
) -> dict[str, Any]:
    return {
        field.name: (floats if field.code == "d" else counts)[start + index]
        for index, field in enumerate(fields)
    }


EMPTY_ROW: dict[str, Any] = {
    **{f.name: 0.0 if f.code == "d" else 0 for f in (*MASTER_FIELDS, *WORKER_FIELDS)},
    "times": [0] * histogram.BUCKET_COUNT,
    "torn": False,
    "row": 0,
    "load": UNAVAILABLE,
}
"""What is read of a worker that is gone."""


class Scoreboard:
    """All of it. Only the master takes and releases rows, and writes its part.

    Raises MachineError.
    """

    def __init__(self) -> None:
        self.fd = shared_memory.create_sealed_file("prefork-master", MASTER_SIZE)
        self._workers_fd = shared_memory.create_sealed_file("prefork-workers", SIZE)
        # Children inherit the other two; this one is the master's alone.
        own = shared_memory.map_writable(self.fd, MASTER_SIZE, inherited=False)
        self._counts, self._floats = own.cast("Q"), own.cast("d")
        self._master = shared_memory.map_read_only(self.fd, MASTER_SIZE)
        self._workers = shared_memory.map_writable(self._workers_fd, SIZE, inherited=True)
        self.rows = Rows(self._master, self._workers)
        self._free = list(range(ROWS))
        self.set_head_fields(magic=MAGIC, pid=os.getpid(), workers_fd=self._workers_fd)

    @property
    def path(self) -> str:
        """Where others of this user find it, as long as the master lives."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def set_head_fields(self, **fields: float) -> None:
        """Write fields of the head."""
        for name, value in fields.items():
            self._write(name, HEAD_INDEX[name], value)

    def set_row_fields(self, row: Row, **fields: float) -> None:
        """Write fields of a row that are the master's."""
        start = record_offset(row.number) // FIELD_SIZE
        for name, value in fields.items():
            self._write(name, start + FIELD_INDEX[name], value)

    def _write(self, name: str, index: int, value: float) -> None:
        if _CODES[name] == "d":
            self._floats[index] = value
        else:
            self._counts[index] = int(value)

    def acquire_row(self, worker: int) -> Row:
        """A clean row for this worker, as near to the first as can be."""
        row = Row(self._master, self._workers, heapq.heappop(self._free))
        self._clear(row)
        self.set_row_fields(row, worker=worker)
        self.set_head_fields(rows=max(self.rows.used, row.number + 1))
        return row

    def release_row(self, row: Row) -> None:
        """To be called after its worker was reaped. A process that this worker left behind may
        still write there, hence it is cleared once more when it is taken."""
        self._clear(row)
        heapq.heappush(self._free, row.number)

    def _clear(self, row: Row) -> None:
        self.set_row_fields(row, **dict.fromkeys((field.name for field in MASTER_FIELDS), 0))
        row.clear()

    def close_copy(self) -> None:
        """In a child that has its row: the memory stays, others find it by the master's fds."""
        del self._counts, self._floats  # nothing is mapped there any more
        os.close(self.fd)
        os.close(self._workers_fd)


def open_scoreboard(path: str) -> Rows:
    """The scoreboard of another process. Raises OSError when it is gone, ValueError when it is
    none."""
    head = _map_file(path, MASTER_SIZE)
    counts = head.cast("Q")
    if counts[0] != MAGIC:
        raise ValueError(f"{path} is not a scoreboard of this version of prefork")
    workers_path = f"{os.path.dirname(path)}/{counts[HEAD_INDEX['workers_fd']]}"
    return Rows(head, _map_file(workers_path, SIZE))


def _map_file(path: str, size: int) -> memoryview:
    """Not through libc: this mapping is to end with its last reader."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not shared_memory.is_sealed(fd):
            raise ValueError(f"{path} is not a scoreboard: its size may change")
        return memoryview(mmap.mmap(fd, size, prot=mmap.PROT_READ))
    finally:
        os.close(fd)
