"""Format the output of workers as log records, and parse records. Uses neither files nor clocks.

A record is a line with a time stamp, the process, and the text:

    2026-11-24 23:59:01.123 [4711] 0 out GET / took 3 ms
    {"time": "2026-11-24 23:59:01.123", "pid": 4711, "slot": 0, "stream": "out", "text": "GET / …"}

The log of master and workers has a level instead of the slot, and the stream ``log``:

    2026-11-24 23:59:01.123 [4711] INFO running, gen 1
    {"time": "2026-11-24 23:59:01.123", "pid": 4711, "slot": null, "stream": "log", "level": "info",
    "text": "running, gen 1"}

Design
------
- **A message of the log is one record.** Its further lines are indented by two spaces, so that none
  of them can be parsed as a record, neither as text nor as JSON.
- **Each line that a worker prints gets a stamp of its own.** Inside of a line only the characters
  that some reader takes for the end of a line are escaped (CR, VT, FF, FS, GS, RS, NEL, U+2028,
  U+2029); all other bytes stay, so that colours do. JSON escapes these characters by itself.
- **The stderr of a program that goes to the master's own log is passed on unchanged,** like its
  stdout: the program has the descriptor, and could write there anyway.
"""

import json
import re
from dataclasses import dataclass
from datetime import datetime

from prefork.printable import printable_line, printable_text
from prefork.unix.time_zone import START_ZONE
from prefork.wire.log_writer_messages import WorkerStream

MAX_TEXT = 16384
"""Maximum number of bytes of a record's text; a longer line becomes several records."""

_BREAKS = re.compile(rb"[\r\v\f\x1c-\x1e]|\xc2\x85|\xe2\x80[\xa8\xa9]")
"""Characters that some readers take for the end of a line (str.splitlines, Unicode UAX 14), or at
which a terminal returns to the beginning of the line."""

_TEXT = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) \[(?P<pid>\d+)\]"
    r"(?: (?P<slot>\d+) (?P<stream>out|err) | )(?P<text>.*)",
    re.DOTALL,
)


def split_lines(data: bytes) -> tuple[int, list[bytes]]:
    """Return how many bytes of ``data`` can be written now, and the lines in them.

    An unfinished line at the end is left for later, unless it is longer than a record already.
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
    """Return how many bytes of a line that is too long become a record.

    This is the maximum, or up to three bytes fewer, so that no character is cut (RFC 3629: bytes
    10xxxxxx continue a character).
    """
    for length in range(MAX_TEXT, MAX_TEXT - 4, -1):
        if line[length] & 0xC0 != 0x80:
            return length
    return MAX_TEXT  # The line is no UTF-8.


def count_whole_characters(data: bytes) -> int:
    """Return how many bytes of an unfinished line are whole characters.

    If ``data`` is only the beginning of one character, all of it counts: its rest never came.
    """
    for back in range(1, min(4, len(data))):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            # 110xxxxx begins a character of two bytes, 1110xxxx of three, 11110xxx of four.
            length = (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0) + 1
            return len(data) - back if length > back else len(data)
    return len(data)


def format_stamp(moment: float) -> str:
    """Return a Unix time as local time, as in 2026-11-24 23:59:01.123."""
    second = f"{datetime.fromtimestamp(int(moment), START_ZONE):%Y-%m-%d %H:%M:%S}"
    return f"{second}.{int(moment * 1000) % 1000:03d}"


def format_record(text: str) -> str:
    """Return a stamped message as one record: printable, with its further lines indented."""
    return re.sub(r"\n(?=[^\n])", "\n  ", printable_text(text))


def format_log_json(stamp: str, pid: int, level: str, text: str) -> str:
    """Return a message of the log of master and workers as an object of JSON, on one line.

    Line ends of the message are escaped by JSON. Lone surrogates are no valid JSON (RFC 8259
    section 8.2), and other characters would act on a terminal, so they are escaped as in text.
    """
    about = {"time": stamp, "pid": pid, "slot": None, "stream": "log", "level": level.lower()}
    return json.dumps({**about, "text": printable_text(text).rstrip("\n")})


def format_text(outlet: WorkerStream, stamp: str, lines: list[bytes]) -> bytes:
    """Format lines of an outlet as text records.

    Bytes are not changed, except that characters which end a line for some readers are escaped. A
    CR at the end of a line belongs to the line end and is removed.
    """
    prefix = f"{stamp} [{outlet.pid}] {outlet.slot} {outlet.stream} ".encode()
    return prefix + (b"\n" + prefix).join(map(_escape_breaks, lines)) + b"\n"


def _escape_breaks(line: bytes) -> bytes:
    if _BREAKS.search(line) is None:
        return line
    return _BREAKS.sub(lambda found: _escape_break(found[0]), line.removesuffix(b"\r"))


def _escape_break(character: bytes) -> bytes:
    return printable_line(character.decode()).encode()


def format_json(outlet: WorkerStream, stamp: str, lines: list[bytes]) -> bytes:
    """Format lines of an outlet as JSON records; bytes that are no UTF-8 are escaped."""
    about = {"time": stamp, "pid": outlet.pid, "slot": outlet.slot, "stream": outlet.stream}
    return "".join(
        json.dumps({**about, "text": line.decode(errors="backslashreplace")}) + "\n"
        for line in lines
    ).encode()


FORMATTERS = {"text": format_text, "json": format_json}


def format_note(kind: str, stamp: str, pid: int, text: str) -> bytes:
    """Return a record of prefork itself in a file of workers' output; ``kind``: text or json."""
    if kind == "text":
        return f"{stamp} [{pid}] {text}\n".encode()
    values = {"time": stamp, "pid": pid, "slot": None, "stream": "log", "text": text}
    return json.dumps(values).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Record:
    """One parsed record.

    ``slot`` is None, and ``stream`` is ``log``, for a record of the log of master and workers.
    ``stream`` is else ``out`` or ``err``. The text of the log begins with its level.
    """

    time: str
    pid: int
    slot: int | None
    stream: str
    text: str


def parse_record(line: str) -> Record | None:
    """Parse a line without its line end; None if it continues the record before it."""
    if line.startswith('{"time": "'):
        try:
            values = json.loads(line)
            level = f"{values['level']} ".upper() if "level" in values else ""
            return Record(
                str(values["time"]),
                int(values["pid"]),
                None if values["slot"] is None else int(values["slot"]),
                str(values["stream"]),
                level + str(values["text"]),
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
