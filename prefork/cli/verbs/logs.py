"""``prefork logs``: records of several logs, merged by time and filtered: the last and the next."""

import argparse
import json
import os
import re
import select
import time
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefork.cli.output.standard_output import OutputError, print_error
from prefork.cli.registry.log_follow import LogFollower
from prefork.config import value_types
from prefork.errors import MachineError, UsageError
from prefork.observe.log_directory import list_log_files
from prefork.observe.log_records import Record, format_record, parse_record
from prefork.unix.home import RegistryEntry

LOOK_EVERY = 0.2
"""Seconds between two looks at files that did not grow; files cannot be waited for."""

LAST = 15
"""Lines that are shown when nobody says how many."""


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Which records are shown, as the words say. ``since``: a stamp."""

    streams: frozenset[str]
    slot: int | None
    pattern: re.Pattern[str] | None
    since: str

    def matches(self, record: Record) -> bool:
        """Whether this one is."""
        return (
            (not self.streams or record.stream in self.streams)
            and (self.slot is None or record.slot == self.slot)
            and (self.pattern is None or self.pattern.search(record.text) is not None)
            and record.time >= self.since
        )


@dataclass(frozen=True, slots=True)
class AppRecord:
    """A record with the app that it is from. ``begins``: it is no further line of one before."""

    app: str
    record: Record
    is_first_line: bool


class LogSource:
    """One file of an app, as records."""

    def __init__(self, app: str, path: Path, wanted: RecordFilter) -> None:
        self.path = path
        self._app = app
        self._tail = LogFollower(path)
        self._wanted = wanted
        self._last = Record("", 0, None, "log", "")

    def last_records(self, count: int | None) -> list[AppRecord]:
        """The last of those that fit; None: all."""
        found: list[AppRecord] = []
        for lines in self._tail.read_backwards():
            found = list(self._fitting(lines))
            if count is not None and len(found) >= count:
                break
            if lines and self._is_before_all(lines):
                break
        return found if count is None else found[max(0, len(found) - count) :]

    def _is_before_all(self, lines: list[str]) -> bool:
        first = parse_record(lines[0])
        return first is not None and first.time < self._wanted.since

    def new_records(self) -> Iterator[list[AppRecord]]:
        """Those that came since."""
        for lines in self._tail.read_new_lines():
            yield list(self._fitting(lines))

    def _fitting(self, lines: Iterable[str]) -> Iterator[AppRecord]:
        for line in lines:
            record = parse_record(line)
            begins = record is not None
            if record is None:
                was = self._last
                record = Record(was.time, was.pid, was.slot, was.stream, line)
            self._last = record
            if self._wanted.matches(record):
                yield AppRecord(self._app, record, begins)


def add_log_options(verb: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    add = verb.add_argument
    add("-n", "--lines", type=int, metavar="N", help=f"the last N records of each app ({LAST})")
    add("-f", "--follow", action="store_true", help="go on as records come")
    add("--out", action="store_true", help="only what workers print to stdout")
    add("--err", action="store_true", help="only what workers print to stderr")
    add("--slot", type=int, metavar="N", help="only from this worker slot")
    add("--grep", metavar="PATTERN", help="only with this regular expression in the text")
    add("--since", metavar="TIME", help="only of the last so much time, as in 10m")
    add("--json", action="store_true", help="JSON objects, for programs")


def print_logs(apps: Sequence[RegistryEntry], words: argparse.Namespace) -> int:
    """Print them; with several apps each begins with the name of its app. Raises UsageError."""
    if not apps:
        raise UsageError("there is no app; start one with `prefork start myapp:main`")
    wanted = _wanted(words)
    unreadable: list[MachineError] = []
    sources = [open_sources(app, wanted, unreadable) for app in apps]
    for error in unreadable:
        print_error(str(error))
    if not any(sources) and not unreadable:
        raise UsageError(f"{apps[0].name} logs to no file; give it one with --log-dir")
    count = words.lines
    if count is None and not words.since:
        count = LAST
    printer = _Printer(words.json, len(apps) > 1)
    try:
        last: list[AppRecord] = []
        for of_app in sources:
            found = sort_by_time(one for source in of_app for one in source.last_records(count))
            last += found if count is None else found[max(0, len(found) - count) :]
        printer.show(sort_by_time(last))
        every = {source.path: source for of_app in sources for source in of_app}
        while words.follow:
            if not _follow(list(every.values()), printer):
                select.select([], [], [], LOOK_EVERY)
                _find_more(every, apps, wanted)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # Whoever read has seen enough; Python would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return MachineError.exit_code if unreadable else 0


def open_sources(
    app: RegistryEntry,
    wanted: RecordFilter,
    unreadable: list[MachineError],
    but: Container[Path] = (),
) -> list[LogSource]:
    """The logs of an app, without those of ``but``; ``unreadable`` gets what is wrong with some."""
    found = []
    for path in log_paths(app, unreadable):
        if path in but:
            continue
        try:
            found.append(LogSource(app.name, path, wanted))
        except MachineError as error:
            unreadable.append(error)
    return found


def _find_more(
    every: dict[Path, LogSource], apps: Iterable[RegistryEntry], wanted: RecordFilter
) -> None:
    """A slot that said nothing so far may have a log by now."""
    for app in apps:
        for source in open_sources(app, wanted, [], every):
            every[source.path] = source


def _follow(sources: Sequence[LogSource], printer: "_Printer") -> bool:
    """A piece of each at a time, so that one that is far behind needs no more memory."""
    rounds = [source.new_records() for source in sources]
    any_came = False
    while rounds:
        came: list[AppRecord] = []
        for each in list(rounds):
            piece = next(each, None)
            if piece is None:
                rounds.remove(each)
            else:
                came += piece
        printer.show(sort_by_time(came))
        any_came = any_came or bool(came)
    return any_came


def sort_by_time(shown: Iterable[AppRecord]) -> list[AppRecord]:
    """In one order, whichever file they are from."""
    return sorted(shown, key=lambda one: one.record.time)


def log_paths(app: RegistryEntry, unreadable: list[MachineError]) -> list[Path]:
    """The files that an app logs to; ``unreadable`` gets what is wrong with the others."""
    log = app.state.get("log") or app.path / "log"
    paths = [Path(log)] if os.path.isfile(log) else []
    output = app.state.get("output")
    try:
        return [*paths, *list_log_files(Path(output))] if output else paths
    except OSError as error:
        unreadable.append(MachineError(f"cannot read {output}: {error.strerror}"))
        return paths


def _wanted(words: argparse.Namespace) -> RecordFilter:
    since = ""
    if words.since:
        try:
            ago = value_types.POSITIVE_DURATION.parse(words.since)
        except ValueError as error:
            raise UsageError(f"--since: expected {error}, not {words.since!r}") from None
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - ago))
    try:
        pattern = re.compile(words.grep) if words.grep else None
    except re.error as error:
        raise UsageError(f"--grep: {words.grep} is no regular expression: {error}") from None
    streams = {name for name in ("out", "err") if getattr(words, name)}
    return RecordFilter(frozenset(streams), words.slot, pattern, since)


class _Printer:
    """Prints records. On a terminal they are made printable, because any of them may hold what an
    app was sent; colours are escaped as well. In a pipe or a file all bytes are those of the log,
    so that ``prefork logs | less -R`` shows the colours."""

    def __init__(self, as_json: bool, with_names: bool) -> None:
        self._as_json = as_json
        self._with_names = with_names
        self._on_terminal = os.isatty(1)

    def show(self, shown: Sequence[AppRecord]) -> None:
        # Not by print: an unbuffered stdout (PYTHONUNBUFFERED) drops what a write(2) that a signal
        # interrupts has not taken.
        lines = map(self._line, shown)
        if self._on_terminal:
            lines = map(format_record, lines)
        rest = memoryview(_as_bytes("".join(f"{line}\n" for line in lines)))
        try:
            while rest:
                rest = rest[os.write(1, rest) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error) from error

    def _line(self, one: AppRecord) -> str:
        record = one.record
        if self._as_json:
            told = {"app": one.app, "time": record.time, "pid": record.pid, "slot": record.slot}
            text = _as_bytes(record.text).decode(errors="backslashreplace")
            return json.dumps({**told, "stream": record.stream, "text": text})
        text = record.text
        if one.is_first_line:
            who = "" if record.slot is None else f"{record.slot} {record.stream} "
            text = f"{record.time} [{record.pid}] {who}{text}"
        return f"{one.app}: {text}" if self._with_names else text


def _as_bytes(text: str) -> bytes:
    """The bytes that a text of a log was read from."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        # Other surrogates come from a line of JSON that an app has printed into the log itself.
        return text.encode(errors="backslashreplace")
