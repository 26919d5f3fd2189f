"""Read the last records of the logs, for the page."""

import os
from collections.abc import Iterable
from typing import Any

from prefork.observe.log_records import Record, parse_record

TAIL_BYTES = 64 * 1024
"""Number of bytes that are read from the end of each file."""

MAX_RECORDS = 200


def read_recent_records(fds: Iterable[int]) -> list[dict[str, Any]]:
    """Return the last records of all these files together, sorted by time, ready for JSON.

    A line that continues a record becomes a record of its own with the same time.
    """
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
    """Return the records in the last TAIL_BYTES bytes of a file, without a partial first line."""
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
