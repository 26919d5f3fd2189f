"""Command-line options, exit codes and progress messages that the benchmark commands share."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Collection
from pathlib import Path

from .peers import ROOT

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
DEFAULT_FOLDER = ROOT / "bench-results"


def print_progress(line: str) -> None:
    """Print a line about progress or a failure on stderr."""
    print(f"bench: {line}", file=sys.stderr, flush=True)


def parse_options(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """Parse the command line, and let SIGTERM and SIGHUP raise KeyboardInterrupt as SIGINT does.

    A signal that is ignored at the start stays ignored, as nohup(1) expects.
    """
    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, signal.default_int_handler)
    return parser.parse_args(arguments)


def add_rounds(parser: argparse.ArgumentParser, over: str) -> None:
    """Add --rounds; `over` names in its help text the things that each round measures."""
    text = f"rounds over all {over} (%(default)s)"
    parser.add_argument("--rounds", type=parse_count, default=5, help=text)


def add_names(parser: argparse.ArgumentParser, flag: str, noun: str, more: str) -> None:
    """Add an option whose values `is_selected` compares with names; `more` ends its help text."""
    text = f"measure only {noun} with one of these in their name{more}"
    parser.add_argument(flag, nargs="+", default=[], metavar="NAME", help=text)


def is_selected(name: str, patterns: Collection[str]) -> bool:
    """Return whether one of `patterns` is in `name`, ignoring case; also True without patterns."""
    return not patterns or any(pattern.lower() in name.lower() for pattern in patterns)


def add_folder(parser: argparse.ArgumentParser, name: str, *endings: str) -> None:
    """Add --out, the folder of the report; its files are called `name` with these endings."""
    *files, last = (f"{name}.{ending}" for ending in endings)
    text = f"write {', '.join(files)} and {last} into DIR ({DEFAULT_FOLDER.name})"
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help=text)


def add_publish(parser: argparse.ArgumentParser) -> None:
    """Add the flag that writes the results in the folder of --out into the manual."""
    parser.add_argument(
        "--publish",
        action="store_true",
        help="measure nothing: write the results in DIR into prefork/docs/benchmarks.md",
    )


def parse_count(text: str) -> int:
    """Return a whole number of at least 1; a `type` for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number, at least 1")
    return int(text)


def parse_duration(text: str) -> float:
    """Return a number of seconds from 0.05 to 600; a `type` for argparse."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.05 <= seconds <= 600:
        raise argparse.ArgumentTypeError("must be from 0.05 to 600 seconds")
    return seconds
