"""The command `scripts/bench`: parses the options, runs the benchmark, writes the report."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

from . import machine, report, targets
from .loads import ALL, Load
from .options import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    add_folder,
    add_names,
    add_publish,
    add_rounds,
    is_selected,
    parse_count,
    parse_duration,
    parse_options,
    print_progress,
)
from .peers import PEERS, ROOT, Peer
from .rounds import Schedule, make_rows, run_rounds


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; its help lists all loads and peers."""
    loads = "\n".join(f"  {load.name:<16}{load.title}" for load in ALL)
    peers = "\n".join(f"  {peer.name}" for peer in PEERS)
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures prefork beside its peers: one worker each on one core, the load\n"
        "generator on another. The main figure is CPU time per request. Prints Markdown on\n"
        "stdout and progress on stderr.\n\n"
        "scripts/bench manage measures the verbs beside PM2, scripts/bench fair how connections\n"
        "are spread over workers, scripts/bench store the store beside Redis and others,\n"
        "scripts/bench versions two checkouts; each has its own --help.",
        epilog=f"loads:\n{loads}\n\npeers:\n{peers}\n\n"
        "Exits with 1 when a server failed under a load; all other figures are measured.",
    )
    add = parser.add_argument
    add_rounds(parser, "loads and peers")
    add(
        "--targets",
        action="store_true",
        help="measure only what the targets of prefork compare, in about 15 minutes: "
        f"{targets.ROUNDS} rounds of {targets.SECONDS:g} s",
    )
    add(
        "--seconds",
        type=parse_duration,
        default=2.0,
        help="measured seconds of each window (%(default)g)",
    )
    add(
        "--warmup",
        type=parse_duration,
        default=1.0,
        help="unmeasured seconds before it (%(default)g)",
    )
    add("--connections", type=parse_count, help="open connections (32; 4 for uploads)")
    add("--loads", nargs="+", default=[], metavar="LOAD", help="measure only these loads")
    add_names(parser, "--peers", "peers", ", in any case")
    add_folder(parser, "bench", "md", "svg", "json")
    add_publish(parser)
    return parser


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parse_options(build_parser(), arguments)
    if options.publish:
        return publish(options.out)
    if options.targets:
        options.loads, options.peers = targets.LOADS, targets.PEERS
        options.rounds = targets.ROUNDS
        options.warmup, options.seconds = targets.WARMUP, targets.SECONDS
    try:
        loads, peers = select_loads(options.loads), select_peers(options.peers)
    except LookupError as error:
        print(f"bench: {error.args[0]}", file=sys.stderr)
        return EXIT_USAGE
    if options.connections:
        loads = [replace(load, connections=options.connections) for load in loads]
    return measure(
        peers, loads, Schedule(options.rounds, options.warmup, options.seconds), options.out
    )


def measure(peers: list[Peer], loads: list[Load], schedule: Schedule, out: Path) -> int:
    """Run the benchmark and return the exit code.

    The report in `out` is written after every round, so an interrupt loses at most one round.
    """
    about = describe_run(loads, schedule)
    present = [peer for peer in peers if not machine.is_missing(peer, about["versions"])]
    for peer in peers:
        if peer not in present:
            print_progress(f"leaves out {peer.name}: it is not installed here")
    rows = make_rows(present, loads)
    minutes = schedule.estimate_seconds(len(rows)) / 60
    print_progress(f"{len(rows)} measurements a round, about {minutes:.0f} minutes in all")
    done = 0
    try:
        for done in run_rounds(rows, schedule, machine.choose_cores()):
            report.write(out, about | {"rounds": done}, rows)
    except KeyboardInterrupt:
        kept = f"{out} has the {done} complete rounds" if done else "no round was completed"
        print_progress(f"interrupted; all servers are stopped; {kept}")
        return EXIT_INTERRUPTED
    print(report.render_document(about | {"rounds": done}, rows))
    return EXIT_FAILED if any(row.failure for row in rows) else 0


def publish(folder: Path) -> int:
    """Write the results in `folder` into the project and return the exit code."""
    try:
        written = report.publish(ROOT, *report.read(folder))
    except report.NoResultsError as error:
        print_progress(str(error))
        return EXIT_FAILED
    print_progress(f"wrote {', '.join(str(path.relative_to(ROOT)) for path in written)}")
    return 0


def select_loads(names: list[str]) -> list[Load]:
    """Return the loads with these names, all without names. Raises LookupError."""
    known = {load.name: load for load in ALL}
    for name in names:
        if name not in known:
            raise LookupError(f"--loads: no load is named {name}; the loads are {', '.join(known)}")
    return [load for load in ALL if not names or load.name in names]


def select_peers(patterns: list[str]) -> list[Peer]:
    """Return the peers with one of `patterns` in their name, all without patterns.

    Raises LookupError for a pattern that is in no name.
    """
    for pattern in patterns:
        if not any(is_selected(peer.name, [pattern]) for peer in PEERS):
            known = ", ".join(peer.name for peer in PEERS)
            raise LookupError(f"--peers: no peer is named like {pattern}; the peers are {known}")
    return [peer for peer in PEERS if is_selected(peer.name, patterns)]


def describe_run(loads: list[Load], schedule: Schedule) -> report.About:
    """Return the conditions of the run for the report: date, machine, versions, schedule."""
    counts = {load.connections for load in loads}
    uploads = [load for load in loads if load.connections != max(counts)]
    others = "".join(f" ({load.name}: {load.connections})" for load in uploads)
    return {
        "date": datetime.now().astimezone().isoformat(" ", "minutes"),
        "connections": f"{max(counts)} connections{others}",
        "schedule": asdict(schedule),
        "machine": machine.describe_machine(),
        "cores": asdict(machine.choose_cores()),
        "versions": machine.find_versions(),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
