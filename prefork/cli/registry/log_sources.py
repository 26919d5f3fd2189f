"""The log files of an app, read as records: filtered, merged by time, the last and the new ones."""

import os
import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prefork.cli.registry.log_follow import LogFollower
from prefork.errors import MachineError
from prefork.observe.log_directory import list_log_files
from prefork.observe.log_records import Record, parse_record
from prefork.unix.registry_entry import RegistryEntry


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """A filter for records, by stream, slot, text and time: the options of ``prefork logs``.

    ``streams``: empty: all; ``slot`` None: all; ``pattern`` None: any text; ``since``: the earliest
    time, as text in the format of a log record.
    """

    streams: frozenset[str]
    slot: int | None
    pattern: re.Pattern[str] | None
    since: str

    def matches(self, record: Record) -> bool:
        """Return whether all criteria hold for ``record``."""
        return (
            (not self.streams or record.stream in self.streams)
            and (self.slot is None or record.slot == self.slot)
            and (self.pattern is None or self.pattern.search(record.text) is not None)
            and record.time >= self.since
        )


@dataclass(frozen=True, slots=True)
class AppRecord:
    """A record and the name of its app.

    ``is_first_line``: it does not continue the record before it.
    """

    app: str
    record: Record
    is_first_line: bool


class LogSource:
    """A reader of one log file of an app: it returns the records that match a filter."""

    def __init__(self, app: str, path: Path, record_filter: RecordFilter) -> None:
        self.path = path
        self._app = app
        self._follower = LogFollower(path)
        self._filter = record_filter
        self._previous = Record("", 0, None, "log", "")

    def last_records(self, count: int | None) -> list[AppRecord]:
        """Return the last ``count`` matching records; None: all of them."""
        found: list[AppRecord] = []
        for lines in self._follower.read_backwards():
            found = list(self._select(lines))
            if count is not None and len(found) >= count:
                break
            if lines and self._begins_before_since(lines):
                break
        return found if count is None else found[max(0, len(found) - count) :]

    def _begins_before_since(self, lines: list[str]) -> bool:
        first = parse_record(lines[0])
        return first is not None and first.time < self._filter.since

    def new_records(self) -> Iterator[list[AppRecord]]:
        """Yield lists of the matching records that were added since the last call."""
        for lines in self._follower.read_new_lines():
            yield list(self._select(lines))

    def _select(self, lines: Iterable[str]) -> Iterator[AppRecord]:
        for line in lines:
            record = parse_record(line)
            is_first = record is not None
            if record is None:
                previous = self._previous
                record = Record(previous.time, previous.pid, previous.slot, previous.stream, line)
            self._previous = record
            if self._filter.matches(record):
                yield AppRecord(self._app, record, is_first)


def open_sources(
    app: RegistryEntry,
    record_filter: RecordFilter,
    unreadable: list[MachineError],
    exclude: Container[Path] = (),
) -> list[LogSource]:
    """Open the log files of an app, without those in ``exclude``.

    A file that cannot be read adds its error to ``unreadable`` and is left out.
    """
    found = []
    for path in log_paths(app, unreadable):
        if path in exclude:
            continue
        try:
            found.append(LogSource(app.name, path, record_filter))
        except MachineError as error:
            unreadable.append(error)
    return found


def sort_by_time(records: Iterable[AppRecord]) -> list[AppRecord]:
    """Return the records in the order of their time; records of the same time keep their order."""
    return sorted(records, key=lambda each: each.record.time)


def log_paths(app: RegistryEntry, unreadable: list[MachineError]) -> list[Path]:
    """Return the paths of an app's log files: the master's, then those of the workers' output.

    When the folder of the output cannot be read, ``unreadable`` gets the error.
    """
    log = app.state.get("log") or app.path / "log"
    paths = [Path(log)] if os.path.isfile(log) else []
    output = app.state.get("output")
    try:
        return [*paths, *list_log_files(Path(output))] if output else paths
    except OSError as error:
        unreadable.append(MachineError(f"cannot read {output}: {error.strerror}"))
        return paths
