"""From what a worker prints to records of a log, and back. Touches neither files nor clocks.

A record is a line: a stamp, who said it, and the text.

    2026-11-24 23:59:01.123 [4711] 0 out GET / took 3 ms
    {"time": "2026-11-24 23:59:01.123", "pid": 4711, "slot": 0, "stream": "out", "text": "GET / …"}
"""

import json
import re
from dataclasses import dataclass

from prefork.wire.outlets import Outlet

LONGEST = 16384
"""Bytes of a record's text; longer lines become several records."""

_TEXT = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) \[(?P<pid>\d+)\]"
    r"(?: (?P<slot>\d+) (?P<stream>out|err) | )(?P<text>.*)",
    re.DOTALL,
)


def whole_lines(data: bytes) -> tuple[int, list[bytes]]:
    """How many bytes of ``data`` can be written now, and the lines that they are.

    What follows the last line end waits for its rest, unless it is too long already.
    """
    *lines, rest = data.split(b"\n")
    taken = len(data) - len(rest)
    cut: list[bytes] = []
    for line in lines:
        cut += _pieces(line)
    while len(rest) > LONGEST:
        cut.append(rest[:LONGEST])
        rest = rest[LONGEST:]
        taken += LONGEST
    return taken, cut


def _pieces(line: bytes) -> list[bytes]:
    if len(line) <= LONGEST:
        return [line]
    return [line[at : at + LONGEST] for at in range(0, len(line), LONGEST)]


def format_text(outlet: Outlet, stamp: str, lines: list[bytes]) -> bytes:
    """The records as text; bytes stay what they are."""
    begin = f"{stamp} [{outlet.pid}] {outlet.slot} {outlet.stream} ".encode()
    return begin + (b"\n" + begin).join(lines) + b"\n"


def format_json(outlet: Outlet, stamp: str, lines: list[bytes]) -> bytes:
    """The records as JSON objects; bytes that are no UTF-8 are escaped."""
    about = {"time": stamp, "pid": outlet.pid, "slot": outlet.slot, "stream": outlet.stream}
    return "".join(
        json.dumps({**about, "text": line.decode(errors="backslashreplace")}) + "\n"
        for line in lines
    ).encode()


FORMATS = {"text": format_text, "json": format_json}


def format_note(kind: str, stamp: str, pid: int, text: str) -> bytes:
    """A record that no worker said."""
    if kind == "text":
        return f"{stamp} [{pid}] {text}\n".encode()
    told = {"time": stamp, "pid": pid, "slot": None, "stream": "log", "text": text}
    return json.dumps(told).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it was read. ``slot`` None: the master's own log, or a worker's word in it."""

    time: str
    pid: int
    slot: int | None
    stream: str
    text: str


def parse(line: str) -> Record | None:
    """The record that a line without its end is; None: a line that belongs to the one before."""
    if line.startswith('{"time": "'):
        try:
            told = json.loads(line)
            return Record(
                str(told["time"]),
                int(told["pid"]),
                None if told["slot"] is None else int(told["slot"]),
                str(told["stream"]),
                str(told["text"]),
            )
        except (ValueError, KeyError, TypeError):
            return None
    found = _TEXT.fullmatch(line)
    if found is None:
        return None
    slot = found["slot"]
    return Record(
        found["time"],
        int(found["pid"]),
        None if slot is None else int(slot),
        found["stream"] or "log",
        found["text"],
    )
