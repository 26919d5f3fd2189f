"""Measures in rounds: each cell in all stores before the next cell."""

from __future__ import annotations

from collections.abc import Iterator

from ..options import print_progress
from .results import Cell, Run, StoreFigures, cell_name
from .servers import Driver, DriverError
from .stores import OPERATIONS, STORES

LACKS = {store.name: store.lacks for store in STORES}

COST_OF_A_CELL = 0.35
"""Seconds that a cell takes beside its measured ones: forks, connections, sorting."""


def estimate_seconds(stores: int, processes: tuple[int, ...], rounds: int, seconds: float) -> float:
    """Return about how many seconds a run takes."""
    return rounds * stores * len(OPERATIONS) * len(processes) * (seconds + COST_OF_A_CELL)


def run_rounds(
    drivers: dict[str, Driver], processes: tuple[int, ...], rounds: int, seconds: float
) -> Iterator[Run]:
    """Measure all stores; yield the results so far after each round.

    A failure ends the operation of its store and is kept in its results.
    """
    run: Run = {name: StoreFigures() for name in drivers}
    for name, driver in drivers.items():
        try:
            driver.measure("fill", 1, 0)
        except DriverError as error:
            run[name].failures = {operation: str(error) for operation in OPERATIONS}
    for number in range(1, rounds + 1):
        for operation in OPERATIONS:
            for count in processes:
                _measure_cell(drivers, run, (operation, count, seconds))
            print_progress(f"round {number}/{rounds}: {operation} measured")
        yield run


def _measure_cell(drivers: dict[str, Driver], run: Run, order: tuple[str, int, float]) -> None:
    operation, count, _ = order
    for name, driver in drivers.items():
        figures = run[name]
        if operation in LACKS[name] or operation in figures.failures:
            continue
        try:
            found = driver.measure(*order)
        except DriverError as error:
            figures.failures[operation] = str(error)
            continue
        figures.cells.setdefault(cell_name(operation, count), Cell()).add(found)
