"""The figures of a run: medians over the rounds, and the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from ..table import aligned
from .managers import OURS, PYTHON, SIDES, STEPS, THEIRS, WORKERS, Side, Step
from .trial import Memory, Trial

UNKNOWN = "?"


@dataclass
class Figures:
    """What the rounds gave for one side."""

    trials: dict[Step, list[Trial]] = field(default_factory=dict)
    memory: list[Memory] = field(default_factory=list)
    failure: str | None = None

    def add(self, step: Step, trial: Trial) -> None:
        self.trials.setdefault(step, []).append(trial)

    def median(self, step: Step, figure: Callable[[Trial], float]) -> float | None:
        trials = self.trials.get(step)
        return median(map(figure, trials)) if trials else None


Run = dict[str, Figures]
"""By the names of the sides."""


def wall(trial: Trial) -> float:
    return trial.wall_ns / 1e6


def cpu(trial: Trial) -> float:
    return trial.cpu_ns / 1e6


def tables(run: Run) -> list[str]:
    """That of the verbs, that of memory, and what failed."""
    lines = [*aligned(_of_verbs(run)), "", *aligned(_of_memory(run))]
    for name, figures in run.items():
        if figures.failure:
            lines += ["", f"{name} failed: {figures.failure}"]
    return lines


def _of_verbs(run: Run) -> list[list[str]]:
    ours = ["prefork ms (min-max)", "PM2 ms (min-max)", "ratio"]
    head = ["verb", *ours, "prefork CPU ms", "PM2 CPU ms", "ratio", f"{PYTHON.name} ms", "CPU ms"]
    return [head, *([text, *_line(run, step)] for step, (text, _) in STEPS.items())]


def _line(run: Run, step: Step) -> list[str]:
    ours, theirs, python = (run.get(side.name, Figures()) for side in (OURS, THEIRS, PYTHON))
    return [
        _ranged(ours.trials.get(step, [])),
        _ranged(theirs.trials.get(step, [])),
        _ratio(theirs.median(step, wall), ours.median(step, wall)),
        _shown(ours.median(step, cpu)),
        _shown(theirs.median(step, cpu)),
        _ratio(theirs.median(step, cpu), ours.median(step, cpu)),
        _shown(python.median(step, wall)),
        _shown(python.median(step, cpu)),
    ]


def _of_memory(run: Run) -> list[list[str]]:
    parts: tuple[tuple[str, Callable[[Memory], int]], ...] = (
        ("the manager and its own processes", lambda one: one.manager),
        (f"{WORKERS} workers", lambda one: one.workers),
    )
    lines = [["memory MB (PSS)", "prefork", "PM2", "ratio", "prefork, Python app"]]
    for text, part in parts:
        ours, theirs, python = (_megabytes(run, side, part) for side in (OURS, THEIRS, PYTHON))
        shown = [_shown(one, 1) for one in (ours, theirs, python)]
        lines.append([text, shown[0], shown[1], _ratio(theirs, ours), shown[2]])
    return lines


def _megabytes(run: Run, side: Side, part: Callable[[Memory], int]) -> float | None:
    found = run.get(side.name, Figures()).memory
    return median(map(part, found)) / 1e6 if found else None


def _ranged(trials: list[Trial]) -> str:
    if not trials:
        return UNKNOWN
    figures = sorted(map(wall, trials))
    return f"{median(figures):.0f} ({figures[0]:.0f}-{figures[-1]:.0f})"


def _shown(figure: float | None, places: int = 0) -> str:
    return UNKNOWN if figure is None else f"{figure:.{places}f}"


def _ratio(theirs: float | None, ours: float | None) -> str:
    return UNKNOWN if theirs is None or not ours else f"{theirs / ours:.1f}"


def as_json(run: Run) -> dict[str, Any]:
    return {name: asdict(figures) for name, figures in run.items()}


def from_json(found: dict[str, Any]) -> Run:
    """What `as_json` wrote, of sides and verbs that there still are."""
    known = {side.name for side in SIDES}
    return {
        name: Figures(
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
