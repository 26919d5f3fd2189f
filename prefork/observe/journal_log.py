"""Log records as entries of the systemd journal.

Each record is one entry, also with a traceback, and has its priority and fields by which
``journalctl`` selects: PREFORK_APP, PREFORK_SLOT and PREFORK_GENERATION.

Design
------
- **Records have no time of their own:** journald stamps them. It also takes the pid from the
  kernel.
- **Where journald's socket cannot be reached** (a service with a root directory of its own), each
  line on the stream begins with its priority, ``<3>`` for an error (sd-daemon(3)). journald
  makes an entry of each line then.
- **What an app prints is not touched:** it goes to the stream, line by line.
"""

import logging
from collections.abc import Callable

from prefork.observe.line_writer import LineWriter
from prefork.printable import printable_text
from prefork.unix.journal import JournalSocket
from prefork.wire.journal_entry import decode_entry, encode_entry

_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
"""Priorities of syslog(3) by the lowest level that has them; below them all it is 7, debug."""

_RECORD_FIELDS = {"PREFORK_SLOT": "slot", "PREFORK_GENERATION": "generation"}
"""Fields of an entry by the attribute of a record that overrides those of the process."""


def priority_of(level: int) -> int:
    """Return the priority of syslog(3) for a level of ``logging``."""
    return next((priority for lowest, priority in _PRIORITIES if level >= lowest), 7)


def prefix_lines(text: str, priority: int) -> str:
    """Return a text with the priority before each line, for a stream to the journal."""
    return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))


def prefix_error(text: str) -> str:
    """Return an error message for a stream to the journal."""
    return prefix_lines(printable_text(text), priority_of(logging.ERROR))


class PrefixFormatter(logging.Formatter):
    """Formats records for a stream to the journal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message, and the traceback if there is one, with the priority of each line."""
        return prefix_lines(printable_text(super().format(record)), priority_of(record.levelno))


class JournalLog:
    """The log of one process in the journal. ``fields``: those of this process, for each entry.

    ``on_lost``: called with the number of dropped records. ``write_line``: called with a record as
    prefixed lines when journald does not take its entry.
    """

    def __init__(
        self,
        journal: JournalSocket,
        max_queued: int,
        on_lost: Callable[[int], None],
        write_line: Callable[[bytes], None],
    ) -> None:
        self.fields: dict[str, str] = {}
        self._journal = journal
        self._write_line = write_line
        self._formatter = logging.Formatter()
        self.writer = LineWriter(journal, max_queued, on_lost, self._on_error, lambda _entry: 1)

    @property
    def fd(self) -> int:
        """The descriptor of the connection to journald."""
        return self._journal.fd

    def close(self) -> None:
        """Close the connection, after what waits for it was written or its second is over."""
        self.writer.flush()
        self.writer.stop_watching()
        self._journal.close()

    def put(self, record: logging.LogRecord) -> None:
        """Send a record, without waiting for journald."""
        fields = {
            "MESSAGE": printable_text(self._formatter.format(record)),
            "PRIORITY": str(priority_of(record.levelno)),
            "SYSLOG_IDENTIFIER": "prefork",
            **self.fields,
        }
        for field, attribute in _RECORD_FIELDS.items():
            value = getattr(record, attribute, None)
            if value is not None:
                fields[field] = str(value)
        self.writer.put(encode_entry(fields))

    def _on_error(self, _error: OSError, entry: bytes, _first: bool) -> None:
        """Write an entry to the stream instead."""
        fields = decode_entry(entry)
        lines = prefix_lines(fields["MESSAGE"], int(fields["PRIORITY"]))
        self._write_line(lines.encode() + b"\n")
