"""``prefork logs``: print and follow the records of several logs, filtered and merged by time."""

import argparse
import json
import os
import re
import select
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from prefork.cli.output.standard_output import OutputError, print_error
from prefork.cli.registry.log_sources import (
    AppRecord,
    LogSource,
    RecordFilter,
    open_sources,
    sort_by_time,
)
from prefork.cli.verbs.verb_parser import build_parser
from prefork.config import value_types
from prefork.errors import MachineError, UsageError
from prefork.observe.log_records import format_record
from prefork.unix.registry_entry import RegistryEntry
from prefork.wire.verb_table import DEFAULT_LOG_LINES, LOGS

POLL_INTERVAL = 0.2
"""Seconds between two reads of files that did not grow: poll(2) does not wait for regular files."""


def follow_apps(apps: Sequence[RegistryEntry]) -> int:
    """``prefork logs -f`` for these apps: the last records, then the new ones until Ctrl-C."""
    return print_logs(apps, build_parser(LOGS).parse_args(["-f"]))


def print_logs(apps: Sequence[RegistryEntry], options: argparse.Namespace) -> int:
    """Print the records that the options select; return the exit code. Raises UsageError.

    With several apps, each line begins with the name of its app. ``--follow`` continues until
    Ctrl-C.
    """
    if not apps:
        raise UsageError("there is no app; start one with `prefork start myapp:main`")
    record_filter = _build_filter(options)
    unreadable: list[MachineError] = []
    sources = [open_sources(app, record_filter, unreadable) for app in apps]
    for error in unreadable:
        print_error(str(error))
    if not any(sources) and not unreadable:
        name = apps[0].name
        raise UsageError(
            f"{name} logs to no file; give it one with --log-dir. "
            f"The records of a service are in the journal: journalctl PREFORK_APP={name}"
        )
    count = options.lines
    if count is None and not options.since:
        count = DEFAULT_LOG_LINES
    printer = _RecordPrinter(options.json, len(apps) > 1)
    try:
        last: list[AppRecord] = []
        for app_sources in sources:
            records = sort_by_time(
                each for source in app_sources for each in source.last_records(count)
            )
            last += records if count is None else records[max(0, len(records) - count) :]
        printer.print_records(sort_by_time(last))
        sources_by_path = {source.path: source for app_sources in sources for source in app_sources}
        while options.follow:
            if not _print_new_records(list(sources_by_path.values()), printer):
                select.select([], [], [], POLL_INTERVAL)
                _open_new_sources(sources_by_path, apps, record_filter)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # The reader of the pipe has gone. Python would report an error when it flushes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return MachineError.exit_code if unreadable else 0


def _open_new_sources(
    sources_by_path: dict[Path, LogSource],
    apps: Iterable[RegistryEntry],
    record_filter: RecordFilter,
) -> None:
    """Open log files that are new: a slot that printed nothing so far may have one by now."""
    for app in apps:
        for source in open_sources(app, record_filter, [], sources_by_path):
            sources_by_path[source.path] = source


def _print_new_records(sources: Sequence[LogSource], printer: "_RecordPrinter") -> bool:
    """Print the new records of all sources; return whether there were any.

    They are read in pieces, one of each source at a time, so that a source with much unread text
    needs no more memory.
    """
    unread = [source.new_records() for source in sources]
    has_new = False
    while unread:
        new: list[AppRecord] = []
        for each in list(unread):
            batch = next(each, None)
            if batch is None:
                unread.remove(each)
            else:
                new += batch
        printer.print_records(sort_by_time(new))
        has_new = has_new or bool(new)
    return has_new


def _build_filter(options: argparse.Namespace) -> RecordFilter:
    """Return the filter that the options describe. Raises UsageError."""
    since = ""
    if options.since:
        try:
            ago = value_types.POSITIVE_DURATION.parse(options.since)
        except ValueError as error:
            raise UsageError(f"--since: expected {error}, not {options.since!r}") from None
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - ago))
    try:
        pattern = re.compile(options.grep) if options.grep else None
    except re.error as error:
        raise UsageError(f"--grep: {options.grep} is no regular expression: {error}") from None
    streams = {name for name in ("out", "err") if getattr(options, name)}
    return RecordFilter(frozenset(streams), options.slot, pattern, since)


class _RecordPrinter:
    """A printer of records on stdout.

    On a terminal they are made printable, because any of them may hold what an app was sent;
    colours are escaped as well. In a pipe or a file all bytes are those of the log, so that
    ``prefork logs | less -R`` shows the colours and grep finds the text.
    """

    def __init__(self, as_json: bool, with_names: bool) -> None:
        self._as_json = as_json
        self._with_names = with_names
        self._on_terminal = os.isatty(1)

    def print_records(self, records: Sequence[AppRecord]) -> None:
        # Not by print: with PYTHONUNBUFFERED, stdout drops the bytes that a write(2) did not take
        # because a signal interrupted it.
        """Write the records to stdout, all of them. Raises OutputError, BrokenPipeError."""
        lines = map(self._format, records)
        if self._on_terminal:
            lines = map(format_record, lines)
        remaining = memoryview(_as_bytes("".join(f"{line}\n" for line in lines)))
        try:
            while remaining:
                remaining = remaining[os.write(1, remaining) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error) from error

    def _format(self, app_record: AppRecord) -> str:
        record = app_record.record
        if self._as_json:
            fields = {
                "app": app_record.app,
                "time": record.time,
                "pid": record.pid,
                "slot": record.slot,
            }
            text = _as_bytes(record.text).decode(errors="backslashreplace")
            return json.dumps({**fields, "stream": record.stream, "text": text})
        text = record.text
        if app_record.is_first_line:
            origin = "" if record.slot is None else f"{record.slot} {record.stream} "
            text = f"{record.time} [{record.pid}] {origin}{text}"
        return f"{app_record.app}: {text}" if self._with_names else text


def _as_bytes(text: str) -> bytes:
    """Return the bytes that a text of a log was read from."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        # Other surrogates come from a line of JSON that the app itself printed into the log.
        return text.encode(errors="backslashreplace")
