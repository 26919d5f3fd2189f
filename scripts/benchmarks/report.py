"""The files of a run: `bench.md`, `bench.json` and `bench.svg` in a folder, and the README's part.

The JSON holds all; the others are made of it, so that they can be made again without measuring.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .results import Row, as_json, from_json
from .table import loads_of, matrix, of_load

About = dict[str, Any]

EXPLANATION = (
    "CPU µs/request is the CPU time of the server's whole process tree; the ratio is over that of"
    " prefork with the same interface, so above 1 a server needs more than prefork. Node is beside"
    " ASGI. The floor is uvloop + httptools with a canned answer and no app at all. Medians over"
    " rounds."
)
KEY = f"prefork's own rows show its CPU µs/request. A dash: the server cannot do it. {EXPLANATION}"


def write(folder: Path, about: About, rows: list[Row]) -> None:
    """Writes the files of a run into `folder`, which is made when it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = about | {"rows": as_json(rows)}
    (folder / "bench.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    (folder / "bench.md").write_text(document(about, rows))


def read(folder: Path) -> tuple[About, list[Row]]:
    """What `write` wrote."""
    about = json.loads((folder / "bench.json").read_text())
    return about, from_json(about.pop("rows"))


def document(about: About, rows: list[Row]) -> str:
    """The whole report: the matrix, then one table for each load."""
    lines = ["# prefork and its peers", "", *(f"- {line}" for line in preface(about)), ""]
    lines += ["## All ratios", "", *matrix(rows), "", KEY, ""]
    for load in loads_of(rows):
        lines += [f"## {load.name}: {load.title}", "", *of_load(rows, load), ""]
    return "\n".join(lines)


def preface(about: About) -> list[str]:
    """Where, when, with what and how it was measured."""
    schedule, cores = about["schedule"], about["cores"]
    return [
        about["date"],
        ", ".join(f"{name} {value}" for name, value in about["machine"].items()),
        *(f"{owner}: {_listed(found)}" for owner, found in about["versions"].items() if found),
        f"{about['connections']}, one request outstanding on each;"
        f" {schedule['rounds']} x {schedule['seconds']:g} s,"
        f" each after {schedule['warmup']:g} s of warming up;"
        f" one worker on CPU {cores['server']}, generator on CPU {cores['generator']}",
    ]


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
