"""The scoreboard in memory: made by the master before it forks, shared with all workers.

It is a file without a name (memfd_create(2)), so it is in memory wherever the registry is: dirty
pages of a file on a disk would make a worker wait, in the middle of a request, for that disk.
Others of the same user find it by the master's descriptor (/proc/PID/fd), which is gone with the
master. Reading and writing a field is one indexed access on a memoryview, about 40 ns.
"""

import ctypes
import heapq
import mmap
import os
from collections.abc import Iterator
from typing import Any, TypeAlias

from prefork.http.load import NOBODY
from prefork.wire import histogram
from prefork.wire.scoreboard import (
    FIELD_SIZE,
    FIELDS,
    HEAD,
    HEAD_INDEX,
    HEAD_SIZE,
    HISTOGRAM,
    INDEX,
    LOADS_SIZE,
    MAGIC,
    ROW_SIZE,
    ROWS,
    SIZE,
    Field,
    offset,
)

DEADLINE = INDEX["deadline"]
ENDS = INDEX["ends"]
WORKER = INDEX["worker"]
BEAT = INDEX["beat"]
DUE = INDEX["due"]
SEQUENCE = INDEX["sequence"]
SHARES = INDEX["shares"]
OUTDATED = INDEX["outdated"]
STATE = INDEX["state"]
WORKING = INDEX["working"]
_USED = HEAD_INDEX["rows"]

Words: TypeAlias = "memoryview[int]"

MAP_FIXED = 0x10

_mmap = ctypes.CDLL(None, use_errno=True).mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)

TRIES = 100
"""How often a row is read that is being written; then it is taken as it is."""


class Row:
    """One row: ``floats[DEADLINE]``, ``counts[REQUESTS]``."""

    __slots__ = ("_bytes", "counts", "floats", "loads", "number", "rows")

    def __init__(self, memory: memoryview, number: int) -> None:
        start = offset(number)
        part = self._bytes = memory[start : start + ROW_SIZE]
        self.number = number
        self.floats = part.cast("d")
        self.counts = part.cast("Q")
        self.loads = memory[HEAD_SIZE : HEAD_SIZE + LOADS_SIZE].cast("Q")
        """Of all workers; ours is at ``number``."""
        self.rows = Rows(memory)
        """Of all workers, to look at."""

    def read(self) -> dict[str, Any]:
        """As ``Rows`` does."""
        return self.rows.row(self.number)

    def clear(self) -> None:
        """Zero every field."""
        self.loads[self.number] = NOBODY
        self._bytes[:] = bytes(ROW_SIZE)

    def make_private(self) -> None:
        """In a process that the worker forked: put memory of its own, all zeros, in place of the
        scoreboard, under all objects that use it (mmap(2), MAP_FIXED)."""
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.rows.counts))
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED
        if _mmap(start, SIZE, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0) != start:
            raise OSError(ctypes.get_errno(), "cannot replace the scoreboard")


class Rows:
    """The head and all rows, for somebody who only reads."""

    __slots__ = ("counts", "floats")

    def __init__(self, memory: memoryview) -> None:
        self.counts = memory.cast("Q")
        self.floats = memory.cast("d")

    @property
    def used(self) -> int:
        """How many rows may be in use, from the first on."""
        return self.counts[_USED]

    def has_only(self, row: int) -> bool:
        """Whether no other row belongs to anybody."""
        return not any(
            self.counts[offset(other) // FIELD_SIZE + WORKER]
            for other in range(self.used)
            if other != row
        )

    def others_share(self, row: int) -> bool:
        """Whether another worker goes on with connections that are shared."""
        return any(
            self.counts[offset(other) // FIELD_SIZE + SHARES]
            for other in range(self.used)
            if other != row
        )

    def is_outdated(self, row: int) -> bool:
        """Whether its worker is to be replaced."""
        return bool(self.counts[offset(row) // FIELD_SIZE + OUTDATED])

    def beat(self, row: int) -> float:
        """When its worker beat last (monotonic)."""
        return float(self.floats[offset(row) // FIELD_SIZE + BEAT])

    def due(self, row: int) -> float:
        """For when its worker has planned its next beat (monotonic)."""
        return float(self.floats[offset(row) // FIELD_SIZE + DUE])

    def head(self) -> dict[str, Any]:
        """What the master says, by the names of the fields."""
        return _read(HEAD, self.counts, self.floats, 0)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Each row in use: its fields by name, ``load``, ``times`` (the histogram), and ``torn``:
        its worker stopped in the middle of writing."""
        for number in range(self.used):
            if self.counts[offset(number) // FIELD_SIZE + WORKER]:
                yield self.row(number)

    def row(self, number: int) -> dict[str, Any]:
        """One row."""
        start = offset(number) // FIELD_SIZE
        for _ in range(TRIES):
            before = self.counts[start + SEQUENCE]
            row = _read(FIELDS, self.counts, self.floats, start)
            times = start + HISTOGRAM
            row["times"] = self.counts[times : times + histogram.BUCKETS].tolist()
            row["torn"] = bool(before & 1) or before != self.counts[start + SEQUENCE]
            if not row["torn"]:
                break
        row["row"] = number
        row["load"] = self.counts[HEAD_SIZE // FIELD_SIZE + number]
        return row


def _read(
    fields: tuple[Field, ...], counts: Words, floats: "memoryview[float]", start: int
) -> dict[str, Any]:
    return {
        field.name: (floats if field.code == "d" else counts)[start + index]
        for index, field in enumerate(fields)
    }


EMPTY: dict[str, Any] = {
    **{field.name: 0.0 if field.code == "d" else 0 for field in FIELDS},
    "times": [0] * histogram.BUCKETS,
    "torn": False,
    "row": 0,
    "load": NOBODY,
}
"""What is read of a worker that is gone."""


class Scoreboard:
    """All of it. Only the master takes and releases rows, and writes the head."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("prefork-scoreboard", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, SIZE)
        self._memory = memoryview(mmap.mmap(self.fd, SIZE))
        self.rows = Rows(self._memory)
        self._free = list(range(ROWS))
        self._head = self._memory[:HEAD_SIZE]
        self._head_counts, self._head_floats = self._head.cast("Q"), self._head.cast("d")
        self.note(magic=MAGIC, pid=os.getpid())

    @property
    def path(self) -> str:
        """Where others of this user find it, as long as the master lives."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def note(self, **fields: float) -> None:
        """Write fields of the head."""
        for name, value in fields.items():
            index = HEAD_INDEX[name]
            if HEAD[index].code == "d":
                self._head_floats[index] = value
            else:
                self._head_counts[index] = int(value)

    def take(self, worker: int) -> Row:
        """A clean row for this worker, as near to the first as can be."""
        row = Row(self._memory, heapq.heappop(self._free))
        row.clear()
        row.counts[WORKER] = worker
        self.note(rows=max(self.rows.used, row.number + 1))
        return row

    def release(self, row: Row) -> None:
        """To be called after its worker was reaped, so that nobody writes to it any more."""
        row.clear()
        heapq.heappush(self._free, row.number)

    def close_copy(self) -> None:
        """In a child that has its row: the memory stays, others find it by the master's fd."""
        os.close(self.fd)


def look(path: str) -> Rows:
    """Somebody else's scoreboard. Raises OSError when it is gone, ValueError when it is none."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        rows = Rows(memoryview(mmap.mmap(fd, SIZE, prot=mmap.PROT_READ)))
    finally:
        os.close(fd)
    if rows.counts[0] != MAGIC:
        raise ValueError(f"{path} is not a scoreboard of this version of prefork")
    return rows
