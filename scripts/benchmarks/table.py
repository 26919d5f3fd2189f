"""Renders the results in Markdown: one table for each load, and the matrix of all ratios."""

from __future__ import annotations

from collections.abc import Iterator

from .loads import ALL, Load
from .peers import PEERS, Interface, Peer
from .results import Row, find_reference, rows_of_interface

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
CANNOT, FAILED, UNKNOWN = "-", "failed", "?"
LONGEST_REASON = 160

Cells = list[str]


def measured_loads(rows: list[Row]) -> list[Load]:
    """Return the loads that were measured, in the order of their declaration."""
    return [load for load in ALL if any(row.load == load for row in rows)]


def measured_peers(rows: list[Row], interface: Interface) -> list[Peer]:
    """Return the measured peers of an interface, in the order of their declaration."""
    measured = {row.peer.name for row in rows if interface in row.peer.interfaces}
    return [peer for peer in PEERS if peer.name in measured]


def ratio_matrix(rows: list[Row]) -> list[str]:
    """Return a table of peers by loads: ratios to prefork with the same interface.

    The rows of prefork itself have its CPU microseconds per request.
    """
    loads = measured_loads(rows)
    lines = [["server", *(load.name for load in loads)]]
    for interface in INTERFACES:
        peers = measured_peers(rows, interface)
        if peers:
            lines.append([f"**{interface.upper()}**", *[""] * len(loads)])
        lines += [
            [peer.name, *(format_ratio(rows, load, interface, peer) for load in loads)]
            for peer in peers
        ]
    return list(align_table(lines))


def load_table(rows: list[Row], load: Load) -> list[str]:
    """Return the table of one load, and below it the notes about its rows."""
    lines = [list(COLUMNS)]
    for interface in INTERFACES:
        shown = rows_of_interface(rows, load, interface)
        if shown:
            lines.append([f"**{interface.upper()}**", *[""] * (len(COLUMNS) - 1)])
        reference = find_reference(shown)
        lines += [_format_row(row, row.ratio_to(reference)) for row in shown]
    notes = _notes([row for row in rows if row.load == load])
    return [*align_table(lines), *(line for note in notes for line in ("", note))]


def ratio_or_reason(rows: list[Row], load: Load, interface: Interface, peer: Peer) -> float | str:
    """Return the peer's ratio to prefork, or CANNOT, FAILED or UNKNOWN."""
    shown = rows_of_interface(rows, load, interface)
    row = next((row for row in shown if row.peer.name == peer.name), None)
    if row is None:
        return CANNOT
    if row.failure:
        return FAILED
    ratio = row.ratio_to(find_reference(shown))
    return UNKNOWN if ratio is None else ratio


def format_ratio(rows: list[Row], load: Load, interface: Interface, peer: Peer) -> str:
    """Return the text of one cell of the matrix."""
    ratio = ratio_or_reason(rows, load, interface, peer)
    if isinstance(ratio, str):
        return ratio
    if peer.is_reference:
        return f"{format_us(cpu_us_of(rows, load, peer) or 0.0)} µs"
    return f"{ratio:.2f}"


def cpu_us_of(rows: list[Row], load: Load, peer: Peer) -> float | None:
    """Return the peer's CPU microseconds per request under `load`, None without results."""
    for row in rows:
        if row.load == load and row.peer.name == peer.name and not row.failure:
            return row.cpu_us
    return None


def _format_row(row: Row, ratio: float | None) -> Cells:
    if row.failure:
        return [row.peer.name, FAILED, *[""] * (len(COLUMNS) - 2)]
    least, most = row.cpu_us_range
    return [
        row.peer.name if row.is_keep_alive else f"{row.peer.name} (no keep-alive)",
        UNKNOWN if ratio is None else f"{ratio:.2f}",
        f"{format_us(row.cpu_us)} ({format_us(least)}-{format_us(most)})",
        f"{row.median(lambda one: one.rate):,.0f}",
        f"{row.median(lambda one: one.p50_ns) / 1e6:.2f}",
        f"{row.median(lambda one: one.p99_ns) / 1e6:.2f}",
        f"{row.median(lambda one: one.max_ns) / 1e6:.1f}",
        f"{row.median(lambda one: one.memory_bytes) / 1e6:.1f}",
    ]


def format_us(number: float) -> str:
    """Format a number of microseconds: with one decimal below 1000, without above."""
    return f"{number:,.1f}" if number < 1000 else f"{number:,.0f}"


def _notes(rows: list[Row]) -> Iterator[str]:
    """Yield notes about bottlenecks, connections without an answer, and failures."""
    measured = [row for row in rows if not row.failure]
    if limited := [row.peer.name for row in measured if row.bottleneck == "generator"]:
        yield (
            "The generator used 90 % of its core or more, so these servers can serve more"
            f" requests/s: {', '.join(limited)}."
        )
    if waited := [row.peer.name for row in measured if row.bottleneck == "neither"]:
        yield (
            "Neither server nor generator used 90 % of its core, as one waited for the other or"
            f" others used the machine: {', '.join(waited)}."
        )
    for row in measured:
        if starved := row.median(lambda one: one.starved):
            yield (
                f"{row.peer.name} left {starved:.0f} of {row.load.connections} connections without"
                " an answer; only max ms tells of their wait."
            )
    for row in rows:
        if row.failure:
            yield f"{row.peer.name} failed: {_shorten(row.failure)}"


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 3]}..."


def align_table(lines: list[Cells]) -> Iterator[str]:
    """Yield the lines of a Markdown table; the first of `lines` is its head."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    head, *body = (_pad(line, widths) for line in lines)
    yield from map(_join_cells, [head, rule, *body])


def _pad(cells: Cells, widths: list[int]) -> Cells:
    figures = zip(cells[1:], widths[1:], strict=True)
    return [cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in figures)]


def _join_cells(cells: Cells) -> str:
    return f"| {' | '.join(cells)} |"
