"""From what a worker prints to records of a log, and back. Touches neither files nor clocks.

A record is a line: a stamp, who said it, and the text.

    2026-11-24 23:59:01.123 [4711] 0 out GET / took 3 ms
    {"time": "2026-11-24 23:59:01.123", "pid": 4711, "slot": 0, "stream": "out", "text": "GET / …"}

Records of the master's own log may go on in lines that are indented. No text begins a record: what
a worker prints gets a stamp before each line, and the lines of a message are indented.
"""

import json
import re
from dataclasses import dataclass

from prefork.printable import printable_line, printable_text
from prefork.wire.log_writer_messages import WorkerStream

MAX_TEXT = 16384
"""Bytes of a record's text; longer lines become several records."""

_BREAKS = re.compile(rb"[\r\v\f\x1c-\x1e]|\xc2\x85|\xe2\x80[\xa8\xa9]")
"""What some readers take for the end of a line (str.splitlines, Unicode TR 14), or a terminal for
the way back to its begin."""

_TEXT = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) \[(?P<pid>\d+)\]"
    r"(?: (?P<slot>\d+) (?P<stream>out|err) | )(?P<text>.*)",
    re.DOTALL,
)


def split_lines(data: bytes) -> tuple[int, list[bytes]]:
    """How many bytes of ``data`` can be written now, and the lines that they are.

    What follows the last line end waits for its rest, unless it is too long already.
    """
    *lines, rest = data.split(b"\n")
    taken = len(data) - len(rest)
    cut: list[bytes] = []
    for line in lines:
        cut += _split_long_line(line)
    while len(rest) > MAX_TEXT:
        length = _record_length(rest)
        cut.append(rest[:length])
        rest = rest[length:]
        taken += length
    return taken, cut


def _split_long_line(line: bytes) -> list[bytes]:
    pieces = []
    while len(line) > MAX_TEXT:
        length = _record_length(line)
        pieces.append(line[:length])
        line = line[length:]
    return [*pieces, line]


def _record_length(line: bytes) -> int:
    """How many bytes of a line that is too long make a record: LONGEST, or up to three fewer where
    that would be inside of a character (RFC 3629: bytes 10xxxxxx go on with one)."""
    for length in range(MAX_TEXT, MAX_TEXT - 4, -1):
        if line[length] & 0xC0 != 0x80:
            return length
    return MAX_TEXT  # it is no UTF-8


def count_whole_characters(data: bytes) -> int:
    """How many bytes of a line without its end are whole characters; all of them where there is
    nothing but the begin of one, whose rest never came."""
    for back in range(1, min(4, len(data))):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            # 110xxxxx begins a character of two bytes, 1110xxxx of three, 11110xxx of four.
            length = (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0) + 1
            return len(data) - back if length > back else len(data)
    return len(data)


def format_record(text: str) -> str:
    """A message, with its stamp before it, as one record: printable, and each line after the first
    is indented, so that it is no record of its own."""
    return re.sub(r"\n(?=[^\n])", "\n  ", printable_text(text))


def format_text(outlet: WorkerStream, stamp: str, lines: list[bytes]) -> bytes:
    """The records as text. Bytes stay what they are, colours included, but for what some readers
    take for the end of a line; a CR at the end of a line belongs to that end."""
    prefix = f"{stamp} [{outlet.pid}] {outlet.slot} {outlet.stream} ".encode()
    return prefix + (b"\n" + prefix).join(map(_escape_breaks, lines)) + b"\n"


def _escape_breaks(line: bytes) -> bytes:
    if _BREAKS.search(line) is None:
        return line
    return _BREAKS.sub(lambda found: _escape_break(found[0]), line.removesuffix(b"\r"))


def _escape_break(character: bytes) -> bytes:
    return printable_line(character.decode()).encode()


def format_json(outlet: WorkerStream, stamp: str, lines: list[bytes]) -> bytes:
    """The records as JSON objects; bytes that are no UTF-8 are escaped."""
    about = {"time": stamp, "pid": outlet.pid, "slot": outlet.slot, "stream": outlet.stream}
    return "".join(
        json.dumps({**about, "text": line.decode(errors="backslashreplace")}) + "\n"
        for line in lines
    ).encode()


FORMATTERS = {"text": format_text, "json": format_json}


def format_note(kind: str, stamp: str, pid: int, text: str) -> bytes:
    """A record that no worker said."""
    if kind == "text":
        return f"{stamp} [{pid}] {text}\n".encode()
    values = {"time": stamp, "pid": pid, "slot": None, "stream": "log", "text": text}
    return json.dumps(values).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it was read. ``slot`` None: the master's own log, or a worker's word in it."""

    time: str
    pid: int
    slot: int | None
    stream: str
    text: str


def parse_record(line: str) -> Record | None:
    """The record that a line without its end is; None: a line that belongs to the one before."""
    if line.startswith('{"time": "'):
        try:
            values = json.loads(line)
            return Record(
                str(values["time"]),
                int(values["pid"]),
                None if values["slot"] is None else int(values["slot"]),
                str(values["stream"]),
                str(values["text"]),
            )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
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
