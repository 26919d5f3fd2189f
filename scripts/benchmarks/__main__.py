"""The command: its options, one run, and the report where it was asked for."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from . import machine
from .loads import HELLO, Load
from .peers import PEERS, chosen
from .results import Row, as_json
from .rounds import Schedule, run
from .table import INTERFACES, markdown

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def options(arguments: list[str]) -> argparse.Namespace:
    names = "\n".join(f"  {peer.name}" for peer in PEERS)
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures prefork beside its peers: one worker each on one core, the load on\n"
        "another, CPU per request first. Prints Markdown on stdout, progress on stderr.",
        epilog=f"servers:\n{names}\n\nExits with 1 when a server failed; the others are measured.",
    )
    add = parser.add_argument
    add("--rounds", type=_count, default=5, help="rounds, each over all servers (%(default)s)")
    add("--seconds", type=_duration, default=3.0, help="measured time of a round (%(default)g)")
    add("--warmup", type=_duration, default=1.0, help="unmeasured time before it (%(default)g)")
    add("--connections", type=_count, default=HELLO.connections, help="at once (%(default)s)")
    add("--only", action="append", default=[], metavar="PATTERN",
        help="only servers with this in their name; may be repeated")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="write every figure of every round there")
    add("--output", type=Path, metavar="DIR", help="write bench.md and bench.json there")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    end_cleanly_on(signal.SIGTERM, signal.SIGHUP)
    wanted = options(arguments)
    peers = chosen(wanted.only)
    if not peers:
        print(f"bench: no server is named like {' or '.join(wanted.only)}", file=sys.stderr)
        return EXIT_USAGE
    load = replace(HELLO, connections=wanted.connections)
    schedule = Schedule(wanted.rounds, wanted.warmup, wanted.seconds)
    try:
        about = context(load, schedule)
        rows = run(peers, load, schedule, machine.cores())
    except KeyboardInterrupt:
        print("bench: interrupted; nothing is left running", file=sys.stderr)
        return EXIT_INTERRUPTED
    report(about, rows, wanted.json, wanted.output)
    return EXIT_FAILED if any(row.failure for row in rows) else 0


def end_cleanly_on(*endings: signal.Signals) -> None:
    """Makes each an interrupt like Ctrl-C, unless we were started to ignore it, as by nohup."""
    for ending in endings:
        if signal.getsignal(ending) is not signal.SIG_IGN:
            signal.signal(ending, signal.default_int_handler)


def context(load: Load, schedule: Schedule) -> dict[str, Any]:
    """All that a reader has to know besides the figures."""
    return {
        "date": datetime.now().astimezone().isoformat(" ", "minutes"),
        "load": load.title,
        "connections": load.connections,
        "schedule": asdict(schedule),
        "machine": machine.facts(),
        "cores": asdict(machine.cores()),
        "versions": machine.versions(),
    }


def report(about: dict[str, Any], rows: list[Row], json_file: Path | None,
           directory: Path | None) -> None:  # fmt: skip
    text = markdown(f"prefork and its peers: {about['load']}", _preface(about), rows)
    figures = about | {interface: as_json(rows, interface) for interface in INTERFACES}
    encoded = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
    print(text)
    if json_file:
        json_file.write_text(encoded)
    if directory:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "bench.md").write_text(text + "\n")
        (directory / "bench.json").write_text(encoded)


def _preface(about: dict[str, Any]) -> list[str]:
    schedule, cores = about["schedule"], about["cores"]
    return [
        about["date"],
        ", ".join(f"{name} {value}" for name, value in about["machine"].items()),
        *(f"{owner}: {_listed(found)}" for owner, found in about["versions"].items()),
        f"{about['connections']} connections, one request outstanding on each;"
        f" {schedule['rounds']} x {schedule['seconds']:g} s,"
        f" each after {schedule['warmup']:g} s of warming up;"
        f" server on CPU {cores['server']}, generator on CPU {cores['generator']}",
    ]


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _duration(text: str) -> float:
    if not 0.05 <= (seconds := float(text)) <= 600:
        raise argparse.ArgumentTypeError("must be from 0.05 to 600 seconds")
    return seconds


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
