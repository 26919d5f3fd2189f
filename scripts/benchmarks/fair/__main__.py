"""The command `scripts/bench fair`: parses the options, measures, writes the report."""

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
    is_selected,
    parse_count,
    parse_duration,
    parse_options,
    print_progress,
)
from ..peers import ROOT
from ..report import PAGE, PICTURES, replace_between
from .picture import render_svg
from .results import Run, as_json, from_json
from .rounds import QUICK, RunSize, run_all
from .servers import SERVERS, ServerCommand, is_missing
from .tables import render_document, render_sections

START, END = "<!-- fair -->\n", "<!-- /fair -->\n"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; its help lists all servers."""
    names = "\n".join(f"  {server.name}" for server in SERVERS)
    parser = argparse.ArgumentParser(
        prog="scripts/bench fair",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures how connections are spread over 4, 16 and 64 workers, and how long\n"
        "requests wait behind others. Prints Markdown on stdout and progress on stderr.",
        epilog=f"servers:\n{names}\n\nExits with 1 when a server failed under a workload.",
    )
    add = parser.add_argument
    add(
        "--connections",
        type=parse_count,
        default=200,
        help="connections that are opened one after another (%(default)s)",
    )
    add(
        "--bursts",
        type=parse_count,
        default=20,
        help="bursts of 8 requests of 0.5 s each (%(default)s)",
    )
    add("--seconds", type=parse_duration, default=12.0,
        help="length of each mixed load (%(default)g)")  # fmt: skip
    add("--quick", action="store_true", help="a short run with 4 workers only")
    add_names(parser, "--only", "servers", ", in any case")
    add_folder(parser, "fair", "md", "svg", "json")
    add_publish(parser)
    return parser


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parse_options(build_parser(), arguments)
    if options.publish:
        return publish(options.out)
    found = machine.find_peer_versions(*{server.package for server in SERVERS if server.package})
    servers = [server for server in SERVERS if is_selected(server.name, options.only)]
    for server in list(servers):
        if is_missing(server, found):
            print_progress(f"leaves out {server.name}: it is not installed here")
            servers.remove(server)
    size = QUICK
    if not options.quick:
        size = replace(RunSize(), connections=options.connections, bursts=options.bursts,
                         seconds=options.seconds)  # fmt: skip
    return measure(servers, size, describe_run(size, found), options.out)


def measure(servers: list[ServerCommand], size: RunSize, about: list[str], out: Path) -> int:
    """Measure and return the exit code. The report in `out` is written after every server."""
    print_progress(f"about {size.estimate_seconds(len(servers)) / 60:.0f} minutes")
    done = Run()
    try:
        for done in run_all(servers, size, machine.choose_cores()):
            write(out, about, done)
    except KeyboardInterrupt:
        print_progress(
            f"interrupted; all servers are stopped; {out} has {len(done.servers)} servers"
        )
        return EXIT_INTERRUPTED
    print(render_document(about, done))
    return EXIT_FAILED if any(one.failures for one in done.servers.values()) else 0


def describe_run(size: RunSize, peers: machine.Versions) -> list[str]:
    """Return the conditions of the run for the report: date, size, machine, versions."""
    versions = (
        machine.find_project_versions(*machine.LIBRARIES) | peers | machine.find_node_versions()
    )
    versions.pop("ws", None)
    return [
        f"{datetime.now().astimezone().isoformat(' ', 'minutes')}, {size.bursts} bursts,"
        f" {size.seconds:g} s of each mixed load",
        ", ".join(f"{name} {value}" for name, value in machine.describe_machine().items()),
        ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]


def write(folder: Path, about: list[str], done: Run, name: str = "fair") -> None:
    """Write the files of a run into `folder`, which is created when it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"about": about} | as_json(done)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    (folder / f"{name}.md").write_text(render_document(about, done))
    (folder / f"{name}.svg").write_text(render_svg(about[0], done))


def publish(folder: Path) -> int:
    """Write the results in `folder` into the manual and return the exit code."""
    try:
        found = json.loads((folder / "fair.json").read_text())
    except FileNotFoundError:
        print_progress(f"no fair.json in {folder}; run scripts/bench fair first")
        return EXIT_FAILED
    about, done = found.pop("about"), from_json(found)
    page, picture = ROOT / PAGE, ROOT / PICTURES / "fair.svg"
    page.write_text(update_page(page.read_text(), about, done))
    picture.write_text(render_svg(about[0], done))
    print_progress(f"wrote {PAGE} and its picture")
    return 0


def update_page(text: str, about: list[str], done: Run) -> str:
    """Return `text`, the page of the manual, with these results between its markers."""
    sections = render_sections(about, done)
    lines = [f"#{line}" if line.startswith("## ") else line for line in sections]
    picture = "![How connections are spread](pictures/fair.svg)"
    return replace_between(text, START, END, [picture, "", *lines[:-1]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
