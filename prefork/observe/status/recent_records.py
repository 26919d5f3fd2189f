"""The last records of the logs, for a page: read from their ends, by time."""

import os
from collections.abc import Iterable
from typing import Any

from prefork.observe.log_records import Record, parse_record

TAIL_BYTES = 64 * 1024
"""That are read of each file."""

MAX_RECORDS = 200


def read_recent_records(fds: Iterable[int]) -> list[dict[str, Any]]:
    """Of all these files together, as JSON has them. A line that begins none goes with its own."""
    found = [record for fd in fds for record in _read_end(fd)]
    found.sort(key=lambda record: record.time)
    return [
        {
            "time": each.time,
            "pid": each.pid,
            "slot": each.slot,
            "stream": each.stream,
            "text": each.text,
        }
        for each in found[-MAX_RECORDS:]
    ]


def _read_end(fd: int) -> list[Record]:
    size = os.fstat(fd).st_size
    start = max(0, size - TAIL_BYTES)
    *lines, _unfinished = os.pread(fd, TAIL_BYTES, start).split(b"\n")
    last = Record("", 0, None, "log", "")
    records: list[Record] = []
    for line in lines[1:] if start else lines:
        text = line.decode(errors="backslashreplace")
        record = parse_record(text) or Record(last.time, last.pid, last.slot, last.stream, text)
        records.append(record)
        last = record
    return records
