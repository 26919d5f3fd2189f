"""The command `scripts/bench versions`: parses the options, compares, prints a table."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from .. import machine
from ..client import ClientError
from ..loads import LOADS
from ..options import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    parse_count,
    parse_duration,
    parse_options,
    print_progress,
)
from ..peers import ROOT
from ..server import ServerError
from .comparison import Comparison, compare

DEFAULT_LOADS = ("hello", "hello-varied", "json")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench versions",
        description="Compares this checkout with another one: measures both by turns on the same "
        "core, and prints CPU time per request and the median of the ratios as Markdown on stdout. "
        "Progress goes to stderr.",
    )
    add = parser.add_argument
    add("old", type=Path, help="the other checkout; run its own scripts/setup first")
    add(
        "--turns", type=parse_count, default=25, help="pairs of windows for each load (%(default)s)"
    )
    add("--seconds", type=parse_duration, default=0.5, help="seconds of a window (%(default)g)")
    add("--loads", nargs="+", default=DEFAULT_LOADS, choices=LOADS, metavar="LOAD",
        help=f"names as in scripts/bench --help ({' '.join(DEFAULT_LOADS)})")  # fmt: skip
    add("--interfaces", nargs="+", default=("wsgi", "asgi"), choices=("wsgi", "asgi"))
    return parser


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parse_options(build_parser(), arguments)
    old = options.old.resolve()
    if not (old / ".venv" / "bin" / "python").exists():
        print_progress(f"{old} has no .venv; run its scripts/setup")
        return EXIT_USAGE
    comparisons = [
        Comparison(LOADS[load], interface)
        for load in options.loads
        for interface in options.interfaces
    ]
    try:
        for comparison in comparisons:
            name = f"{comparison.load.name} {comparison.interface}"
            pairs = compare(
                comparison, (old, ROOT), options.turns, options.seconds, machine.choose_cores()
            )
            for before, after in pairs:
                print_progress(f"{name:<24}{before:9.2f}{after:9.2f} us")
    except (ServerError, ClientError) as error:
        print_progress(str(error))
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    print(render_table(comparisons, describe_commit(old), describe_commit(ROOT)))
    return 0


def describe_commit(tree: Path) -> str:
    """Return the commit of a checkout, with the suffix `-dirty` when its files differ from it."""
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or tree.name


def render_table(comparisons: Iterable[Comparison], old: str, new: str) -> str:
    """Return a Markdown table; a ratio above 1 means that the new checkout needs more CPU time."""
    facts = ", ".join(f"{key} {value}" for key, value in machine.describe_machine().items())
    lines = [
        f"CPU per request in microseconds, medians; {facts}.",
        "",
        f"| load | interface | {old} | {new} | ratio | half of the ratios |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for one in comparisons:
        low, high = one.quartiles
        lines.append(
            f"| {one.load.name} | {one.interface} | {one.old_us:.2f} | {one.new_us:.2f} "
            f"| {one.ratio:.3f} | {low:.3f} to {high:.3f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
