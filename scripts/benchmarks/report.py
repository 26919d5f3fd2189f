"""Writes the files of a run, `bench.json`, `bench.md` and `bench.svg`, and the manual's tables.

The JSON file has all results. The other files are made from it and can be made again without
measuring.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .options import EXIT_FAILED, print_progress
from .peers import ROOT
from .picture import render_svg
from .results import Row, as_json, from_json
from .table import load_table, measured_loads, ratio_matrix
from .targets import render_targets

About = dict[str, Any]

PAGE, PICTURES = "prefork/docs/benchmarks.md", "prefork/docs/pictures"
START, END = "<!-- benchmark -->\n", "<!-- /benchmark -->\n"

COLUMNS = """\
Every row is one worker on one core, its load on the other. The ratio is a server's CPU time per
request over that of prefork with the same interface: above 1 it needs more than prefork. Node is
shown beside ASGI; the floor is uvloop + httptools with a canned answer and no app at all; a dash
says that a server cannot do it. prefork's own rows of the matrix have its CPU µs/request.

CPU µs/request is what the server's whole process tree used, divided by the answers; latencies are
seen by the client; max ms counts requests that were still waiting at the end; memory is that of the
process tree, shared pages divided (PSS). All are medians over the rounds."""


TARGETS = """\
What prefork is to reach: its CPU time per request over that of the fastest of the servers that a
target names. Both are medians of the same run, in which the servers take turns."""


class NoResultsError(Exception):
    """There are no results, or the manual has no place for them."""


def write(folder: Path, about: About, rows: list[Row]) -> None:
    """Write the files of a run into `folder`, which is created when it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = about | {"rows": as_json(rows)}
    (folder / "bench.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    (folder / "bench.md").write_text(render_document(about, rows))
    (folder / "bench.svg").write_text(render_picture(about, rows))


def read(folder: Path) -> tuple[About, list[Row]]:
    """Return the conditions and rows that `write` wrote. Raises NoResultsError."""
    try:
        about = json.loads((folder / "bench.json").read_text())
    except FileNotFoundError:
        raise NoResultsError(f"no bench.json in {folder}; run scripts/bench first") from None
    return about, from_json(about.pop("rows"))


def render_document(about: About, rows: list[Row]) -> str:
    """Return the Markdown report: the matrix of ratios, then one table for each load."""
    lines = [
        "# prefork and its peers",
        "",
        *(f"- {line}" for line in describe_conditions(about)),
        "",
    ]
    if table := render_targets(rows):
        lines += ["## Targets", "", *table, ""]
    lines += ["## All ratios", "", *ratio_matrix(rows), "", COLUMNS, ""]
    for load in measured_loads(rows):
        lines += [f"## {load.name}: {load.title}", "", *load_table(rows, load), ""]
    return "\n".join(lines)


def render_picture(about: About, rows: list[Row]) -> str:
    """Return the SVG chart of a run."""
    where = f"{about['date']}, {about['machine']['CPU']}, {about['rounds']} rounds"
    return render_svg(f"One worker on one core, less is better. {where}.", rows)


def publish(root: Path, about: About, rows: list[Row]) -> list[Path]:
    """Write the results into the manual, tables and picture; return the written paths."""
    page, picture = root / PAGE, root / PICTURES / "benchmarks.svg"
    text = update_page(page.read_text(), about, rows)
    page.write_text(text)
    picture.write_text(render_picture(about, rows))
    return [page, picture]


def update_page(text: str, about: About, rows: list[Row]) -> str:
    """Return `text`, the page of the manual, with these results between its markers."""
    lines = [COLUMNS, "", *(f"- {line}" for line in describe_conditions(about)), ""]
    if table := render_targets(rows):
        lines += [TARGETS, "", *table, ""]
    lines += [
        "![CPU time per request of prefork and its peers](pictures/benchmarks.svg)",
        "",
        *ratio_matrix(rows),
        "",
    ]
    for load in measured_loads(rows):
        lines += [f"### {load.name}: {load.title}", "", *load_table(rows, load), ""]
    return replace_between(text, START, END, lines[:-1])


def publish_section(name: str, folder: Path, render: Callable[[About], list[str]]) -> int:
    """Write the results of `scripts/bench NAME` in `folder` into its section of the manual, and
    return the exit code. `render` returns the lines of the section, from the results."""
    page = ROOT / PAGE
    try:
        lines = render(json.loads((folder / f"{name}.json").read_text()))
        text = replace_section(page.read_text(), name, lines)
    except FileNotFoundError:
        print_progress(f"no {name}.json in {folder}; run scripts/bench {name} first")
        return EXIT_FAILED
    except NoResultsError as error:
        print_progress(str(error))
        return EXIT_FAILED
    page.write_text(text)
    print_progress(f"wrote {PAGE}")
    return 0


def replace_section(text: str, name: str, lines: list[str]) -> str:
    """Return `text`, the page of the manual, with `lines` between the markers of a benchmark.

    Raises NoResultsError without the markers.
    """
    return replace_between(text, f"<!-- {name} -->\n", f"<!-- /{name} -->\n", lines)


def replace_between(text: str, start: str, end: str, lines: list[str]) -> str:
    """Return `text` with `lines` instead of the text between the markers `start` and `end`.

    Raises NoResultsError without the markers.
    """
    before, found_start, rest = text.partition(start)
    _, found_end, after = rest.partition(end)
    if not (found_start and found_end):
        raise NoResultsError(f"{PAGE} has no lines {start.strip()} and {end.strip()}")
    return before + start + "\n".join([*lines, ""]) + end + after


def describe_conditions(about: About) -> list[str]:
    """Return lines about date, machine, versions and schedule of the run."""
    schedule, cores = about["schedule"], about["cores"]
    return [
        about["date"],
        ", ".join(f"{name} {value}" for name, value in about["machine"].items()),
        *(
            f"{owner}: {_join_versions(found)}"
            for owner, found in about["versions"].items()
            if found
        ),
        f"{about['connections']}, one request outstanding on each;"
        f" {about['rounds']} x {schedule['seconds']:g} s,"
        f" each after {schedule['warmup']:g} s of warming up;"
        f" server on CPU {cores['server']}, generator on CPU {cores['generator']}",
    ]


def _join_versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
