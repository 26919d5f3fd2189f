"""The command `scripts/bench store`: parses the options, measures, writes the report."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import machine
from ..options import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    add_folder,
    add_names,
    add_publish,
    add_rounds,
    is_selected,
    parse_duration,
    parse_options,
    print_progress,
)
from ..report import publish_section
from ..server import ServerError
from .clients import READS_PER_WRITE, TTL, VALUE
from .results import Run, as_json, from_json, render_tables
from .rounds import estimate_seconds, run_rounds
from .servers import run_drivers, server_versions
from .stores import PROCESSES, STORES, Store, why_missing

PACKAGES = ("lmdb", "redis", "hiredis", "pymemcache", "gunicorn")

EXPLANATION = f"""\
The latency of one call, as a request waits for it: {len(VALUE)} bytes under one of a thousand keys,
which a set keeps for {TTL // 3600} h where the store has a time to live (LMDB alone and gunicorn's
stash have none). incr adds one to one of a thousand counters; mixed is {READS_PER_WRITE} gets and
then a set. Each store is called by 1, 4 and 16 processes at once. No store syncs a write to the
disk. With more processes than cores the 99.9th percentile is that of a process which lost its core
in the middle of a call. Medians over the rounds; the worst is that of all rounds."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; its help lists all stores."""
    names = "\n".join(f"  {store.name}" for store in STORES)
    parser = argparse.ArgumentParser(
        prog="scripts/bench store",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures how long get, set, incr and a mix of them take in prefork's store\n"
        "and in others, from 1, 4 and 16 processes. The clients of the others are installed into\n"
        ".venv-bench; redis-server and memcached have to be on PATH. Prints Markdown on stdout\n"
        "and progress on stderr.",
        epilog=f"stores:\n{names}",
    )
    add_rounds(parser, "stores and operations")
    parser.set_defaults(rounds=3)
    parser.add_argument(
        "--seconds",
        type=parse_duration,
        default=0.4,
        help="measured seconds of each operation and number of processes (%(default)g)",
    )
    parser.add_argument("--quick", action="store_true", help="a single round of the shortest kind")
    add_names(parser, "--only", "stores", ", in any case")
    add_folder(parser, "store", "md", "json")
    add_publish(parser)
    return parser


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parse_options(build_parser(), arguments)
    if options.publish:
        return publish(options.out)
    packages = machine.find_project_versions(*PACKAGES)
    peers = machine.find_peer_versions(*PACKAGES)
    stores = [store for store in STORES if is_selected(store.name, options.only)]
    for store in list(stores):
        if why := why_missing(store, peers if store.server else packages):
            print_progress(f"leaves out {store.name}: {why}")
            stores.remove(store)
    rounds, seconds = (1, 0.05) if options.quick else (options.rounds, options.seconds)
    about = describe_run(packages, peers, seconds)
    return measure(stores, about, rounds, seconds, options.out)


def measure(
    stores: list[Store], about: dict[str, Any], rounds: int, seconds: float, out: Path
) -> int:
    """Measure and return the exit code. The report in `out` is written after every round."""
    estimate = estimate_seconds(len(stores), PROCESSES, rounds, seconds)
    print_progress(f"about {estimate / 60:.1f} minutes")
    done = 0
    run: Run = {}
    try:
        with run_drivers(stores) as drivers:
            for done, run in enumerate(run_rounds(drivers, PROCESSES, rounds, seconds), 1):
                write(out, about | {"rounds": done}, run)
    except ServerError as error:
        print_progress(f"a server of the stores failed: {error}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        print_progress(f"interrupted; all stores are stopped; {out} has {done} complete rounds")
        return EXIT_INTERRUPTED
    print(render_document(about | {"rounds": done}, run))
    failures = [each for figures in run.values() for each in figures.failures]
    return EXIT_FAILED if failures else 0


def describe_run(
    packages: machine.Versions, peers: machine.Versions, seconds: float
) -> dict[str, Any]:
    """Return the conditions of the run for the report: date, machine, versions, seconds."""
    return {
        "date": datetime.now().astimezone().isoformat(" ", "minutes"),
        "machine": machine.describe_machine(),
        "versions": peers | packages | server_versions(),
        "seconds": seconds,
    }


def write(folder: Path, about: dict[str, Any], run: Run) -> None:
    """Write the files of a run into `folder`, which is created when it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    found = about | {"stores": as_json(run)}
    (folder / "store.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    (folder / "store.md").write_text(render_document(about, run))


def render_document(about: dict[str, Any], run: Run) -> str:
    """Return the whole report; `about` has the conditions of the run."""
    return "\n".join(["# The store of prefork and others", "", *render_section(about, run), ""])


def render_section(about: dict[str, Any], run: Run) -> list[str]:
    """Return the lines of the report below its title; the manual has the same."""
    where = [f"{name} {value}" for name, value in (about["machine"] | about["versions"]).items()]
    rounds = f"{about['rounds']} rounds of {about['seconds']:g} s for each figure"
    preface = [f"- {about['date']}, {rounds}", f"- {', '.join(where)}"]
    return [EXPLANATION, "", *preface, "", *render_tables(run)]


def publish(folder: Path) -> int:
    """Write the results in `folder` into the manual and return the exit code."""

    def render(found: dict[str, Any]) -> list[str]:
        run = from_json(found.pop("stores"))
        return render_section(found, run)

    return publish_section("store", folder, render)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
