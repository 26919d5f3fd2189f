"""The command `scripts/bench manage`: parses the options, measures, writes the report."""

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
    parse_options,
    print_progress,
)
from ..report import publish_section
from .losses import (
    FRAMEWORKS,
    PROGRAMS,
    Losses,
    losses_as_json,
    losses_from_json,
    measure_losses,
    render_losses,
)
from .managers import MANAGERS, PM2, PM2_PACKAGE, PREFORK, Manager
from .results import Run, as_json, from_json, render_tables
from .rounds import run_rounds
from .trial import TrialError, adopt_orphans

EXPLANATION = """\
The same unmodified Node app on one port, four workers in cluster mode: `prefork -- node server.js`
beside PM2, both with their defaults; the last columns are prefork with a small WSGI app. A verb is
measured until it has returned and its goal is reached: every worker accepts, the old ones are
gone. CPU is that of the command, the manager and all workers. The ratio is PM2's figure over
prefork's. All are medians over the rounds."""

LOSSES_EXPLANATION = """\
Two reloads of four workers while 48 clients ask: 16 keep their connections, 16 have a new one for
each request, 16 call a page that takes 300 ms. prefork runs Next.js by `npm start`, PM2 its script
in cluster mode. A reload ends when the command has returned and no old worker answers any more;
memory is that of the manager and all workers."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench manage",
        description="Measures the verbs of a process manager, prefork beside PM2. PM2 is installed"
        " into .venv-bench and gets a temporary home. Prints Markdown on stdout and progress on"
        " stderr.",
    )
    names = "; ".join(manager.name for manager in MANAGERS)
    add_rounds(parser, "managers and verbs")
    parser.add_argument(
        "--quick", action="store_true", help="measure a single round, and no lost requests"
    )
    add_names(parser, "--only", "managers", f" (they are {names})")
    add_folder(parser, "manage", "md", "json")
    add_publish(parser)
    return parser


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parse_options(build_parser(), arguments)
    if options.publish:
        return publish(options.out)
    managers = [manager for manager in MANAGERS if is_selected(manager.name, options.only)]
    if not (PM2_PACKAGE / "package.json").exists() and PM2 in managers:
        print_progress("leaves out PM2: it is not installed here")
        managers.remove(PM2)
    frameworks = [] if options.quick else list(PROGRAMS)
    if frameworks and not (FRAMEWORKS / "installed").exists():
        print_progress("leaves out lost requests: the frameworks are not installed here")
        frameworks = []
    return measure(managers, 1 if options.quick else options.rounds, frameworks, options.out)


def measure(managers: list[Manager], rounds: int, frameworks: list[str], out: Path) -> int:
    """Measure and return the exit code. The report in `out` is written after every round."""
    adopt_orphans()
    about, done = describe_run(), 0
    figures: Run = {}
    try:
        for done, figures in enumerate(run_rounds(managers, rounds), 1):
            write(out, about | {"rounds": done}, figures, {})
        sides = [manager for manager in managers if manager in (PREFORK, PM2)]
        losses = measure_losses(sides, frameworks)
        write(out, about | {"rounds": done}, figures, losses)
    except TrialError as error:
        print_progress(f"lost requests cannot be measured: {error}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        print_progress(f"interrupted; all managers are stopped; {out} has {done} complete rounds")
        return EXIT_INTERRUPTED
    print(render_document(about | {"rounds": done}, figures, losses))
    return EXIT_FAILED if any(one.failure for one in figures.values()) else 0


def describe_run() -> dict[str, Any]:
    """Return the conditions of the run for the report: date, machine, versions."""
    versions = machine.find_project_versions() | machine.find_node_versions()
    versions.pop("ws", None)
    if (PM2_PACKAGE / "package.json").exists():
        versions["PM2"] = json.loads((PM2_PACKAGE / "package.json").read_text())["version"]
    versions |= framework_versions()
    return {
        "date": datetime.now().astimezone().isoformat(" ", "minutes"),
        "machine": machine.describe_machine(),
        "versions": versions,
    }


def framework_versions() -> dict[str, str]:
    """Return the versions of the installed frameworks."""
    found = {}
    for name, package in (("Next.js", "next"), ("Express", "express"), ("Fastify", "fastify")):
        file = FRAMEWORKS / "node_modules" / package / "package.json"
        if file.exists():
            found[name] = json.loads(file.read_text())["version"]
    return found


def write(folder: Path, about: dict[str, Any], figures: Run, losses: Losses) -> None:
    """Write the files of a run into `folder`, which is created when it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    found = about | {"sides": as_json(figures), "losses": losses_as_json(losses)}
    (folder / "manage.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    (folder / "manage.md").write_text(render_document(about, figures, losses))


def render_document(about: dict[str, Any], figures: Run, losses: Losses) -> str:
    """Return the whole report; `about` has the conditions of the run."""
    return "\n".join(["# prefork and PM2", "", *render_section(about, figures, losses), ""])


def render_section(about: dict[str, Any], figures: Run, losses: Losses) -> list[str]:
    """Return the lines of the report below its title; the manual has the same."""
    where = [f"{name} {value}" for name, value in (about["machine"] | about["versions"]).items()]
    preface = [f"- {about['date']}, {about['rounds']} rounds", f"- {', '.join(where)}"]
    lines = [EXPLANATION, "", *preface, "", *render_tables(figures)]
    return [*lines, "", LOSSES_EXPLANATION, *render_losses(losses)] if losses else lines


def publish(folder: Path) -> int:
    """Write the results in `folder` into the manual and return the exit code."""

    def render(found: dict[str, Any]) -> list[str]:
        figures = from_json(found.pop("sides"))
        losses = losses_from_json(found.pop("losses", {}))
        return render_section(found, figures, losses)

    return publish_section("manage", folder, render)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
