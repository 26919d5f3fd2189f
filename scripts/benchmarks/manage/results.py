"""The results of a run: medians over the rounds, Markdown tables, JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from ..table import align_table
from .managers import MANAGERS, PM2, PREFORK, PREFORK_PYTHON, STEPS, WORKERS, Manager, Step
from .trial import Memory, Trial

UNKNOWN = "?"


@dataclass
class ManagerFigures:
    """The results of one manager: the trials of all rounds. The names are keys of `manage.json`."""

    trials: dict[Step, list[Trial]] = field(default_factory=dict)
    memory: list[Memory] = field(default_factory=list)
    failure: str | None = None

    def add(self, step: Step, trial: Trial) -> None:
        """Add the trial of one round."""
        self.trials.setdefault(step, []).append(trial)

    def median(self, step: Step, figure: Callable[[Trial], float]) -> float | None:
        """Return the median of `figure` over the rounds, None without a trial."""
        trials = self.trials.get(step)
        return median(map(figure, trials)) if trials else None


Run = dict[str, ManagerFigures]
"""The results by the names of the managers."""


def wall_ms(trial: Trial) -> float:
    """Return the wall time of the trial in milliseconds."""
    return trial.wall_ns / 1e6


def cpu_ms(trial: Trial) -> float:
    """Return the CPU time of the trial in milliseconds."""
    return trial.cpu_ns / 1e6


def render_tables(run: Run) -> list[str]:
    """Return the table of the verbs, the table of memory, and the failures."""
    lines = [*align_table(_verb_table(run)), "", *align_table(_memory_table(run))]
    for name, figures in run.items():
        if figures.failure:
            lines += ["", f"{name} failed: {figures.failure}"]
    return lines


def _verb_table(run: Run) -> list[list[str]]:
    ours = ["prefork ms (min-max)", "PM2 ms (min-max)", "ratio"]
    head = [
        "verb",
        *ours,
        "prefork CPU ms",
        "PM2 CPU ms",
        "ratio",
        f"{PREFORK_PYTHON.name} ms",
        "CPU ms",
    ]
    return [head, *([text, *_format_verb(run, step)] for step, (text, _) in STEPS.items())]


def _format_verb(run: Run, step: Step) -> list[str]:
    ours, theirs, python = (
        run.get(manager.name, ManagerFigures()) for manager in (PREFORK, PM2, PREFORK_PYTHON)
    )
    return [
        _format_range(ours.trials.get(step, [])),
        _format_range(theirs.trials.get(step, [])),
        _format_ratio(theirs.median(step, wall_ms), ours.median(step, wall_ms)),
        _format(ours.median(step, cpu_ms)),
        _format(theirs.median(step, cpu_ms)),
        _format_ratio(theirs.median(step, cpu_ms), ours.median(step, cpu_ms)),
        _format(python.median(step, wall_ms)),
        _format(python.median(step, cpu_ms)),
    ]


def _memory_table(run: Run) -> list[list[str]]:
    parts: tuple[tuple[str, Callable[[Memory], int]], ...] = (
        ("the manager and its own processes", lambda one: one.manager),
        (f"{WORKERS} workers", lambda one: one.workers),
    )
    lines = [["memory MB (PSS)", "prefork", "PM2", "ratio", "prefork, Python app"]]
    for text, part in parts:
        ours, theirs, python = (
            _megabytes(run, manager, part) for manager in (PREFORK, PM2, PREFORK_PYTHON)
        )
        shown = [_format(one, 1) for one in (ours, theirs, python)]
        lines.append([text, shown[0], shown[1], _format_ratio(theirs, ours), shown[2]])
    return lines


def _megabytes(run: Run, manager: Manager, part: Callable[[Memory], int]) -> float | None:
    found = run.get(manager.name, ManagerFigures()).memory
    return median(map(part, found)) / 1e6 if found else None


def _format_range(trials: list[Trial]) -> str:
    if not trials:
        return UNKNOWN
    figures = sorted(map(wall_ms, trials))
    return f"{median(figures):.0f} ({figures[0]:.0f}-{figures[-1]:.0f})"


def _format(figure: float | None, places: int = 0) -> str:
    return UNKNOWN if figure is None else f"{figure:.{places}f}"


def _format_ratio(theirs: float | None, ours: float | None) -> str:
    return UNKNOWN if theirs is None or not ours else f"{theirs / ours:.1f}"


def as_json(run: Run) -> dict[str, Any]:
    """Return the run for the key "sides" of `manage.json`."""
    return {name: asdict(figures) for name, figures in run.items()}


def from_json(found: dict[str, Any]) -> Run:
    """Return the run that `as_json` wrote, without managers and verbs that no longer exist."""
    known = {manager.name for manager in MANAGERS}
    return {
        name: ManagerFigures(
            {
                step: [Trial(**one) for one in figures["trials"].get(step, [])]
                for step in STEPS
                if step in figures["trials"]
            },
            [Memory(**one) for one in figures["memory"]],
            figures["failure"],
        )
        for name, figures in found.items()
        if name in known
    }
