"""What the commands of the benches have in common: kinds of options, endings, words to a person."""

from __future__ import annotations

import argparse
import signal
import sys

from .peers import ROOT

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
LAST = ROOT / "bench-results"


def tell(line: str) -> None:
    """Progress, and what went wrong."""
    print(f"bench: {line}", file=sys.stderr, flush=True)


def end_cleanly_on(*endings: signal.Signals) -> None:
    """Makes each an interrupt like Ctrl-C, unless we were started to ignore it, as by nohup."""
    for ending in endings:
        if signal.getsignal(ending) is not signal.SIG_IGN:
            signal.signal(ending, signal.default_int_handler)


def count(text: str) -> int:
    """A kind of option for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number, at least 1")
    return int(text)


def duration(text: str) -> float:
    """A kind of option for argparse."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.05 <= seconds <= 600:
        raise argparse.ArgumentTypeError("must be from 0.05 to 600 seconds")
    return seconds
