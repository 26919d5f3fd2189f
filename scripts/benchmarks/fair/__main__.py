"""The command: its options, one run, and the report where it was asked for."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
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
    count,
    duration,
    is_named,
    read,
    tell,
)
from .picture import svg
from .results import Run, as_json, from_json
from .rounds import QUICK, Extent, run
from .servers import CREWS, Crew, missing
from .tables import document

LATEST = Path(__file__).resolve().parents[1]


def parser() -> argparse.ArgumentParser:
    names = "\n".join(f"  {crew.name}" for crew in CREWS)
    parser = argparse.ArgumentParser(
        prog="scripts/bench fair",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures who gets which connection, and how long requests wait behind\n"
        "others, with 4, 16 and 64 workers. Prints Markdown on stdout, progress on stderr.",
        epilog=f"servers:\n{names}\n\nExits with 1 when a server failed at something.",
    )
    add = parser.add_argument
    add("--connections", type=count, default=200, help="one after another (%(default)s)")
    add("--bursts", type=count, default=20, help="of 8 requests of 0.5 s each (%(default)s)")
    add("--seconds", type=duration, default=12.0, help="of each mixed load (%(default)g)")
    add("--quick", action="store_true", help="little of everything, 4 workers only")
    add_names(parser, "--only", "servers", ", in any case")
    add_folder(parser, "fair", "md", "svg", "json")
    add_publish(parser, "--keep", "keep what DIR has as scripts/benchmarks/fair.*")
    return parser


def main(arguments: list[str]) -> int:
    wanted = read(parser(), arguments)
    if wanted.keep:
        return keep(wanted.out)
    found = machine.peer_versions(*{crew.package for crew in CREWS if crew.package})
    crews = [crew for crew in CREWS if is_named(crew.name, wanted.only)]
    for crew in list(crews):
        if missing(crew, found):
            tell(f"without {crew.name}: it is not installed here")
            crews.remove(crew)
    extent = QUICK
    if not wanted.quick:
        extent = replace(Extent(), connections=wanted.connections, bursts=wanted.bursts,
                         seconds=wanted.seconds)  # fmt: skip
    return measure(crews, extent, context(extent, found), wanted.out)


def measure(crews: list[Crew], extent: Extent, about: list[str], out: Path) -> int:
    """One run; what there is goes to `out` after every server."""
    tell(f"about {extent.estimate(len(crews)) / 60:.0f} minutes")
    done = Run()
    try:
        for done in run(crews, extent, machine.cores()):
            write(out, about, done)
    except KeyboardInterrupt:
        tell(f"interrupted; nothing is left running; {out} has {len(done.servers)} servers")
        return EXIT_INTERRUPTED
    print(document(about, done))
    return EXIT_FAILED if any(one.failures for one in done.servers.values()) else 0


def context(extent: Extent, peers: machine.Versions) -> list[str]:
    """All that a reader has to know besides the figures."""
    versions = machine.project_version(*machine.LIBRARIES) | peers | machine.node_version()
    versions.pop("ws", None)
    return [
        f"{datetime.now().astimezone().isoformat(' ', 'minutes')}, {extent.bursts} bursts,"
        f" {extent.seconds:g} s of each mixed load",
        ", ".join(f"{name} {value}" for name, value in machine.facts().items()),
        ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]


def write(folder: Path, about: list[str], done: Run, name: str = "fair") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"about": about} | as_json(done)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    (folder / f"{name}.md").write_text(document(about, done))
    (folder / f"{name}.svg").write_text(svg(about[0], done))


def keep(folder: Path) -> int:
    """Brings the figures in `folder` into the project, beside the bench."""
    try:
        found = json.loads((folder / "fair.json").read_text())
    except FileNotFoundError:
        tell(f"no fair.json in {folder}; run scripts/bench fair first")
        return EXIT_FAILED
    about, done = found.pop("about"), from_json(found)
    (LATEST / "fair.md").write_text(document(about, done))
    (LATEST / "fair.svg").write_text(svg(about[0], done))
    tell("wrote scripts/benchmarks/fair.md and fair.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
