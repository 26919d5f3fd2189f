"""The report in Markdown: where it was made, then a table for each interface, ratios first."""

from __future__ import annotations

from collections.abc import Iterator

from .peers import Interface
from .results import Row, reference_of, section

INTERFACES: tuple[Interface, ...] = ("wsgi", "asgi")
COLUMNS = (
    "server",
    "ratio to prefork",
    "CPU µs/request (min-max)",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "max ms",
    "memory MB",
)
FAILED = "failed: "


def markdown(title: str, preface: list[str], rows: list[Row]) -> str:
    lines = [f"# {title}", "", *(f"- {line}" for line in preface), ""]
    for interface in INTERFACES:
        shown = section(rows, interface)
        if shown:
            lines += [f"## {interface.upper()}", "", *_table(shown), ""]
    return "\n".join([*lines, *_notes(rows)])


def _table(rows: list[Row]) -> Iterator[str]:
    reference = reference_of(rows)
    cells = [list(COLUMNS), *(_cells(row, row.ratio(reference)) for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    head, *body = (_padded(line, widths) for line in cells)
    yield from map(_line, [head, rule, *body])


def _cells(row: Row, ratio: float | None) -> list[str]:
    if row.failure:
        return [row.peer.name, _failure(row.failure), *[""] * 6]
    least, most = row.cpu_us_range
    return [
        row.peer.name if row.keeps_alive else f"{row.peer.name} (no keep-alive)",
        "-" if ratio is None else f"{ratio:.2f}",
        f"{row.cpu_us:.1f} ({least:.1f}-{most:.1f})",
        f"{row.median(lambda one: one.rate):,.0f}",
        f"{row.median(lambda one: one.p50_ns) / 1e6:.2f}",
        f"{row.median(lambda one: one.p99_ns) / 1e6:.2f}",
        f"{row.median(lambda one: one.max_ns) / 1e6:.1f}",
        f"{row.median(lambda one: one.memory_bytes) / 1e6:.1f}",
    ]


def _failure(reason: str) -> str:
    return FAILED + reason.replace("|", "\\|")


def _notes(rows: list[Row]) -> Iterator[str]:
    yield "Ratio: CPU per request of the whole process tree, over prefork's. Medians over rounds."
    measured = [row for row in rows if not row.failure]
    eased = [row.peer.name.partition(" (")[0] for row in measured if not row.saturated]
    if eased:
        yield f"Less than 90 % of their core used, so more requests/s in them: {', '.join(eased)}."


def _width(cell: str) -> int:
    return 0 if cell.startswith(FAILED) else len(cell)


def _padded(cells: list[str], widths: list[int]) -> list[str]:
    figures = zip(cells[1:], widths[1:], strict=True)
    return [cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in figures)]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
