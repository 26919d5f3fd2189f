"""What the commands of the benches have in common: options, endings, words to a person."""

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
    """Progress, and what went wrong."""
    print(f"bench: {line}", file=sys.stderr, flush=True)


def parse_options(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """What the command is to do. From now on TERM and HUP are interrupts like Ctrl-C, unless we
    were started to ignore them, as by nohup."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) is not signal.SIG_IGN:
            signal.signal(ending, signal.default_int_handler)
    return parser.parse_args(arguments)


def add_rounds(parser: argparse.ArgumentParser, over: str) -> None:
    """--rounds, ``over`` what is measured in each."""
    text = f"rounds over all {over} (%(default)s)"
    parser.add_argument("--rounds", type=parse_count, default=5, help=text)


def add_names(parser: argparse.ArgumentParser, flag: str, whose: str, more: str) -> None:
    """A choice by ``is_named``; ``more``: at the end of the help."""
    text = f"only {whose} with one of these in their name{more}"
    parser.add_argument(flag, nargs="+", default=[], metavar="NAME", help=text)


def is_selected(name: str, patterns: Collection[str]) -> bool:
    """Whether one of these is in the name, in any case; or there are none."""
    return not patterns or any(pattern.lower() in name.lower() for pattern in patterns)


def add_folder(parser: argparse.ArgumentParser, name: str, *endings: str) -> None:
    """--out, where the report goes, as files of this name."""
    *files, last = (f"{name}.{ending}" for ending in endings)
    text = f"write {', '.join(files)} and {last} there ({DEFAULT_FOLDER.name})"
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help=text)


def add_publish(parser: argparse.ArgumentParser, flag: str, how: str) -> None:
    """To bring into the project what is in the folder of --out."""
    parser.add_argument(flag, action="store_true", help=f"measure nothing: {how}")


def parse_count(text: str) -> int:
    """A kind of option for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number, at least 1")
    return int(text)


def parse_duration(text: str) -> float:
    """A kind of option for argparse."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.05 <= seconds <= 600:
        raise argparse.ArgumentTypeError("must be from 0.05 to 600 seconds")
    return seconds
