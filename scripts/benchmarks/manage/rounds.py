"""The order of it all: in every round each side does all verbs, so that what disturbs the machine
disturbs all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from .managers import Side, Step
from .results import Figures, Run
from .trial import Managed, TrialError

AFTERWARDS: tuple[Step, ...] = ("start", "reload", "scale up", "scale down")


def run(sides: list[Side], rounds: int) -> Iterator[Run]:
    """All figures so far, after each round."""
    figures: Run = {side.name: Figures() for side in sides}
    for number in range(1, rounds + 1):
        for side in sides:
            if figures[side.name].failure:
                continue
            try:
                _round(side, figures[side.name], f"{number}/{rounds} {side.name:<20}")
            except (TrialError, OSError) as error:
                figures[side.name].failure = str(error)
                print(f"{number}/{rounds} {side.name} failed: {error}", file=sys.stderr)
        yield figures


def _round(side: Side, figures: Figures, about: str) -> None:
    with Managed(side) as managed:

        def measure(step: Step) -> None:
            trial = managed.trial(step)
            figures.add(step, trial)
            wall, cpu = trial.wall_ns / 1e6, trial.cpu_ns / 1e6
            print(f"{about} {step:<12}{wall:8.0f} ms{cpu:8.0f} ms CPU", file=sys.stderr, flush=True)

        measure("first start")
        measure("stop")
        managed.delete()
        for step in AFTERWARDS:
            measure(step)
        figures.memory.append(managed.memory())
        measure("stop")
