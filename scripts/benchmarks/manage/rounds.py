"""Measures in rounds: in each round every manager runs all verbs.

A noisy minute of the machine so affects all managers alike.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from .managers import Manager, Step
from .results import ManagerFigures, Run
from .trial import ManagerSession, TrialError

STEPS_AFTER_DELETE: tuple[Step, ...] = ("start", "reload", "scale up", "scale down")


def run_rounds(managers: list[Manager], rounds: int) -> Iterator[Run]:
    """Measure all managers; yield the results so far after each round.

    A failure ends the rounds of its manager and is kept in its results.
    """
    figures: Run = {manager.name: ManagerFigures() for manager in managers}
    for number in range(1, rounds + 1):
        for manager in managers:
            if figures[manager.name].failure:
                continue
            try:
                _run_round(manager, figures[manager.name], f"{number}/{rounds} {manager.name:<20}")
            except (TrialError, OSError) as error:
                figures[manager.name].failure = str(error)
                print(f"{number}/{rounds} {manager.name} failed: {error}", file=sys.stderr)
        yield figures


def _run_round(manager: Manager, figures: ManagerFigures, about: str) -> None:
    """Run all verbs of one round with a new home, and add their times and the memory."""
    with ManagerSession(manager) as managed:

        def measure(step: Step) -> None:
            trial = managed.measure_verb(step)
            figures.add(step, trial)
            wall, cpu = trial.wall_ns / 1e6, trial.cpu_ns / 1e6
            print(f"{about} {step:<12}{wall:8.0f} ms{cpu:8.0f} ms CPU", file=sys.stderr, flush=True)

        measure("first start")
        measure("stop")
        managed.delete()
        for step in STEPS_AFTER_DELETE:
            measure(step)
        figures.memory.append(managed.measure_memory())
        measure("stop")
