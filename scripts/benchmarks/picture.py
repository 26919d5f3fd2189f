"""Draws the SVG chart: bars of CPU per request under the first load, and the matrix of ratios.

The chart has its own background, and follows the colour scheme of the reader's browser (light or
dark). Colour only repeats the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log2
from xml.sax.saxutils import escape

from .loads import Load
from .peers import Interface, Peer
from .results import Row
from .table import (
    CANNOT,
    INTERFACES,
    cpu_us_of,
    format_ratio,
    format_us,
    measured_loads,
    measured_peers,
    ratio_or_reason,
)

WIDTH, MARGIN = 1000, 24
NAMES_WIDTH = 132
"""Width of the column with the names of the peers."""
BAR, BAR_STEP, CELL, CELL_STEP = 16, 23, 24, 26
LONGEST_BAR = 4.0
"""Length of the longest bar, as a multiple of prefork's; a longer one is cut, with a mark.

Uncut, one very slow server would make all other bars too short to compare.
"""
STRONGEST_COLOUR = 3.0
"""log2 of the ratio from which on a cell has the strongest colour."""

STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 19px; font-weight: 600; }
  .head { font-weight: 600; }
  .load { font-size: 11px; }
  .note { fill: #59636e; }
  .right { text-anchor: end; }
  .middle { text-anchor: middle; }
  .page { fill: #ffffff; stroke: #d1d9e0; }
  .ours { fill: #0969da; }
  .peer { fill: #9aa5b1; }
  .floor { fill: #d0d7de; }
  .cut { stroke: #ffffff; stroke-width: 3; }
  .more { fill: #0969da; }
  .less { fill: #e16f24; }
  .even { fill: #9aa5b1; fill-opacity: 0.12; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .note { fill: #9198a1; }
    .page { fill: #0d1117; stroke: #3d444d; }
    .ours, .more { fill: #4493f8; }
    .peer { fill: #7d8590; }
    .floor { fill: #3d444d; }
    .cut { stroke: #0d1117; }
    .less { fill: #f0883e; }
  }
"""


def render_svg(subtitle: str, rows: list[Row]) -> str:
    """Return the chart; `subtitle` stands below its title."""
    loads = measured_loads(rows)
    bars = list(_draw_bars(rows, loads[0], top=84))
    most = max(len(measured_peers(rows, interface)) for interface in INTERFACES)
    top = 84 + 26 + most * BAR_STEP + 40
    cells = list(_draw_matrix(rows, loads, top))
    height = top + 40 + _count_matrix_lines(rows) * CELL_STEP + 32
    key = (
        "Cells: CPU time as a multiple of prefork's with the same interface; blue is more, orange"
        " less. prefork's own rows: CPU µs/request."
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
            f' width="{WIDTH}" height="{height}" role="img">',
            "<title>CPU time per request of prefork and its peers</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"'
            "/>",
            render_text(MARGIN, 36, "CPU time per request of prefork and its peers", "title"),
            render_text(MARGIN, 58, subtitle, "note"),
            *bars,
            *cells,
            render_text(MARGIN, height - 16, key, "note"),
            "</svg>",
            "",
        ]
    )


def _draw_bars(rows: list[Row], load: Load, top: int) -> Iterator[str]:
    """Draw the bars of both interfaces, side by side."""
    half = (WIDTH - 3 * MARGIN) // 2
    for number, interface in enumerate(INTERFACES):
        left = MARGIN + number * (half + MARGIN)
        title = f"{interface.upper()}, {load.title}: CPU µs/request"
        yield render_text(left, top + 8, title, "head")
        room = half - NAMES_WIDTH - 60
        yield from _draw_bars_of_interface(rows, load, interface, left, top + 26, room)


def _draw_bars_of_interface(
    rows: list[Row], load: Load, interface: Interface, left: int, top: int, room: int
) -> Iterator[str]:
    peers = [
        peer for peer in measured_peers(rows, interface) if cpu_us_of(rows, load, peer) is not None
    ]
    figures = [cpu_us_of(rows, load, peer) or 0.0 for peer in peers]
    ours = [figure for figure, peer in zip(figures, peers, strict=True) if peer.is_reference]
    longest = min(max(figures, default=1.0), LONGEST_BAR * ours[0] if ours else float("inf"))
    for line, (peer, figure) in enumerate(zip(peers, figures, strict=True)):
        y = top + line * BAR_STEP
        length = max(2.0, min(figure / longest, 1.0) * room)
        bar = left + NAMES_WIDTH
        yield render_text(bar - 8, y + 12, peer.name, "right")
        size = f'width="{length:.1f}" height="{BAR}"'
        yield f'<rect class="{_css_class(peer)}" x="{bar}" y="{y}" {size}/>'
        if figure > longest:
            x = bar + length - 16
            yield f'<path class="cut" d="M{x:.1f} {y + BAR + 2}l8 {-BAR - 4}"/>'
        yield render_text(bar + length + 8, y + 12, format_us(figure))


def _css_class(peer: Peer) -> str:
    if peer.is_reference:
        return "ours"
    return "floor" if peer.name == "floor" else "peer"


def _count_matrix_lines(rows: list[Row]) -> int:
    return sum(
        1 + len(peers) for interface in INTERFACES if (peers := measured_peers(rows, interface))
    )


def _draw_matrix(rows: list[Row], loads: list[Load], top: int) -> Iterator[str]:
    """Draw the matrix of ratios: a line for each peer, a column for each load."""
    left = MARGIN + NAMES_WIDTH
    step = min(90.0, (WIDTH - left - MARGIN) / len(loads))
    for column, load in enumerate(loads):
        first, _, second = load.name.partition("-")
        x = left + (column + 0.5) * step
        if second:
            yield render_text(x, top, first, "head load middle")
        yield render_text(x, top + 14, second or first, "head load middle")
    y = top + 24
    for interface in INTERFACES:
        peers = measured_peers(rows, interface)
        if peers:
            yield render_text(left - 8, y + 17, interface.upper(), "head right")
            y += CELL_STEP
        for peer in peers:
            yield render_text(left - 8, y + 16, peer.name, "right")
            for column, load in enumerate(loads):
                x = left + column * step
                yield from _draw_cell(rows, load, interface, peer, (x, y, step - 2))
            y += CELL_STEP


def _draw_cell(
    rows: list[Row], load: Load, interface: Interface, peer: Peer, place: tuple[float, int, float]
) -> Iterator[str]:
    x, y, width = place
    shown = format_ratio(rows, load, interface, peer)
    ratio = ratio_or_reason(rows, load, interface, peer)
    if shown != CANNOT:
        size = f'width="{width:.1f}" height="{CELL}"'
        yield f'<rect {_cell_attributes(ratio)} x="{x:.1f}" y="{y}" {size} rx="3"/>'
    yield render_text(
        x + width / 2, y + 16, shown, "middle head" if peer.is_reference else "middle"
    )


def _cell_attributes(ratio: float | str) -> str:
    """Return class and opacity of a cell: blue above 1, orange below, stronger with distance."""
    if isinstance(ratio, str) or f"{ratio:.2f}" == "1.00":
        return 'class="even"'
    strength = min(abs(log2(ratio)) / STRONGEST_COLOUR, 1.0)
    kind = "more" if ratio > 1 else "less"
    return f'class="{kind}" fill-opacity="{0.08 + 0.47 * strength:.2f}"'


def render_text(x: float, y: float, text: str, css_class: str = "") -> str:
    """Return a text element at this position, with a class of the style sheet."""
    attribute = f' class="{css_class}"' if css_class else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{attribute}>{escape(text)}</text>'
