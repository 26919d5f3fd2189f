"""The command: its options, one run, and the report where it was asked for."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

from . import machine, report
from .loads import ALL, Load
from .options import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    add_folder,
    add_names,
    add_publish,
    add_rounds,
    count,
    duration,
    is_named,
    read,
    tell,
)
from .peers import PEERS, ROOT, Peer
from .rounds import Schedule, rows_of, run


def parser() -> argparse.ArgumentParser:
    loads = "\n".join(f"  {load.name:<16}{load.title}" for load in ALL)
    peers = "\n".join(f"  {peer.name}" for peer in PEERS)
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures prefork beside its peers: one worker each on one core, the load on\n"
        "another, CPU per request first. Prints Markdown on stdout, progress on stderr.\n\n"
        "scripts/bench manage measures the verbs beside PM2, scripts/bench fair who gets which\n"
        "connection, scripts/bench versions two checkouts; each has a --help of its own.",
        epilog=f"loads:\n{loads}\n\npeers:\n{peers}\n\n"
        "Exits with 1 when a server failed at a load; all else is measured.",
    )
    add = parser.add_argument
    add_rounds(parser, "loads and peers")
    add("--seconds", type=duration, default=2.0, help="measured time of a figure (%(default)g)")
    add("--warmup", type=duration, default=1.0, help="unmeasured time before it (%(default)g)")
    add("--connections", type=count, help="at once (32, uploads 4)")
    add("--loads", nargs="+", default=[], metavar="LOAD", help="only these loads")
    add_names(parser, "--peers", "peers", ", in any case")
    add_folder(parser, "bench", "md", "svg", "json")
    add_publish(parser, "--readme", "bring what DIR has into README.md")
    return parser


def main(arguments: list[str]) -> int:
    wanted = read(parser(), arguments)
    if wanted.readme:
        return publish(wanted.out)
    try:
        loads, peers = chosen_loads(wanted.loads), chosen_peers(wanted.peers)
    except LookupError as error:
        print(f"bench: {error.args[0]}", file=sys.stderr)
        return EXIT_USAGE
    if wanted.connections:
        loads = [replace(load, connections=wanted.connections) for load in loads]
    return measure(peers, loads, Schedule(wanted.rounds, wanted.warmup, wanted.seconds), wanted.out)


def measure(peers: list[Peer], loads: list[Load], schedule: Schedule, out: Path) -> int:
    """One run. What there is goes to `out` after every round, so an interrupt loses only one."""
    about = context(loads, schedule)
    present = [peer for peer in peers if not machine.missing(peer, about["versions"])]
    for peer in peers:
        if peer not in present:
            tell(f"without {peer.name}: it is not installed here")
    rows = rows_of(present, loads)
    tell(f"{len(rows)} figures a round, about {schedule.estimate(len(rows)) / 60:.0f} minutes")
    done = 0
    try:
        for done in run(rows, schedule, machine.cores()):
            report.write(out, about | {"rounds": done}, rows)
    except KeyboardInterrupt:
        kept = f"{out} has the {done} whole rounds" if done else "not one round was whole"
        tell(f"interrupted; nothing is left running; {kept}")
        return EXIT_INTERRUPTED
    print(report.document(about | {"rounds": done}, rows))
    return EXIT_FAILED if any(row.failure for row in rows) else 0


def publish(folder: Path) -> int:
    """Makes the README's part of the figures in `folder`."""
    try:
        written = report.publish(ROOT, *report.read(folder))
    except report.NoResultsError as error:
        tell(str(error))
        return EXIT_FAILED
    tell(f"wrote {', '.join(str(path.relative_to(ROOT)) for path in written)}")
    return 0


def chosen_loads(names: list[str]) -> list[Load]:
    known = {load.name: load for load in ALL}
    for name in names:
        if name not in known:
            raise LookupError(f"--loads: no load is named {name}; known are {', '.join(known)}")
    return [load for load in ALL if not names or load.name in names]


def chosen_peers(patterns: list[str]) -> list[Peer]:
    for pattern in patterns:
        if not any(is_named(peer.name, [pattern]) for peer in PEERS):
            known = ", ".join(peer.name for peer in PEERS)
            raise LookupError(f"--peers: no peer is named like {pattern}; known are {known}")
    return [peer for peer in PEERS if is_named(peer.name, patterns)]


def context(loads: list[Load], schedule: Schedule) -> report.About:
    """All that a reader has to know besides the figures."""
    counts = {load.connections for load in loads}
    uploads = [load for load in loads if load.connections != max(counts)]
    others = "".join(f" ({load.name}: {load.connections})" for load in uploads)
    return {
        "date": datetime.now().astimezone().isoformat(" ", "minutes"),
        "connections": f"{max(counts)} connections{others}",
        "schedule": asdict(schedule),
        "machine": machine.facts(),
        "cores": asdict(machine.cores()),
        "versions": machine.versions(),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
