"""The results of a run: medians over the rounds, Markdown tables, JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from ..table import align_table
from .stores import NEAREST_REDIS, OPERATIONS, OURS, PROCESSES, STORES

NONE, UNKNOWN = "-", "?"
MOST_GET_US, MOST_SET_US, LEAST_RATIO = 5.0, 15.0, 5.0


@dataclass
class Cell:
    """The latencies of one operation from so many processes: one figure for each round, in ns."""

    median_ns: list[int] = field(default_factory=list)
    p999_ns: list[int] = field(default_factory=list)
    worst_ns: list[int] = field(default_factory=list)

    def add(self, found: dict[str, Any]) -> None:
        """Add what a driver has measured in one round."""
        self.median_ns.append(found["median_ns"])
        self.p999_ns.append(found["p999_ns"])
        self.worst_ns.append(found["worst_ns"])

    @property
    def median_us(self) -> float:
        """The median over the rounds of the median latency, in microseconds."""
        return median(self.median_ns) / 1000


@dataclass
class StoreFigures:
    """The results of one store. The names are keys of `store.json`. `cells`: by `cell_name`;
    `failures`: by operation."""

    cells: dict[str, Cell] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


Run = dict[str, StoreFigures]
"""The results by the names of the stores."""


def cell_name(operation: str, processes: int) -> str:
    """Return the key of a cell."""
    return f"{operation} {processes}"


def median_us(run: Run, store: str, operation: str, processes: int) -> float | None:
    """Return the median latency in microseconds; None: it was not measured."""
    cell = run.get(store, StoreFigures()).cells.get(cell_name(operation, processes))
    return None if cell is None else cell.median_us


def render_tables(run: Run) -> list[str]:
    """Return a table for each operation, the targets, and the failures."""
    lines: list[str] = []
    for operation in OPERATIONS:
        lines += [*align_table(_operation_table(run, operation)), ""]
    lines += align_table(_target_table(run))
    for name, figures in run.items():
        for operation, why in figures.failures.items():
            lines += ["", f"{name} failed ({operation}): {why}"]
    return lines


def _operation_table(run: Run, operation: str) -> list[list[str]]:
    head = [operation]
    for processes in PROCESSES:
        head += [f"{processes}: median µs", "p99.9 µs", "worst ms"]
    rows = []
    for store in STORES:
        if store.name in run:
            cells = [run[store.name].cells.get(cell_name(operation, n)) for n in PROCESSES]
            rows.append([store.name, *(text for cell in cells for text in _format(cell))])
    return [head, *rows]


def _format(cell: Cell | None) -> list[str]:
    if cell is None:
        return [NONE] * 3
    worst = max(cell.worst_ns) / 1e6
    return [f"{cell.median_us:,.1f}", f"{median(cell.p999_ns) / 1000:,.0f}", f"{worst:,.1f}"]


def _target_table(run: Run) -> list[list[str]]:
    head = ["target", *(f"{n} process{'es' if n > 1 else ''}" for n in PROCESSES)]
    rows = [
        [f"{operation} in at most {most:g} µs (median)"]
        + [_judge(median_us(run, OURS, operation, n), most) for n in PROCESSES]
        for operation, most in (("get", MOST_GET_US), ("set", MOST_SET_US))
    ]
    rows += [
        [f"{operation}, times faster than {NEAREST_REDIS}: {LEAST_RATIO:g}"]
        + [_compare(run, operation, n) for n in PROCESSES]
        for operation in OPERATIONS
    ]
    return [head, *rows]


def _judge(found: float | None, most: float) -> str:
    if found is None:
        return UNKNOWN
    return f"{found:.1f}" if found <= most else f"{found:.1f}, missed"


def _compare(run: Run, operation: str, processes: int) -> str:
    ours, theirs = (median_us(run, name, operation, processes) for name in (OURS, NEAREST_REDIS))
    if not ours or not theirs:
        return UNKNOWN
    ratio = theirs / ours
    return f"{ratio:.1f}" if ratio >= LEAST_RATIO else f"{ratio:.1f}, missed"


def as_json(run: Run) -> dict[str, Any]:
    """Return the run for the key "stores" of `store.json`."""
    return {name: asdict(figures) for name, figures in run.items()}


def from_json(found: dict[str, Any]) -> Run:
    """Return the run that `as_json` wrote, without stores that no longer exist."""
    known = {store.name for store in STORES}
    return {
        name: StoreFigures(
            {key: Cell(**cell) for key, cell in figures["cells"].items()}, figures["failures"]
        )
        for name, figures in found.items()
        if name in known
    }
