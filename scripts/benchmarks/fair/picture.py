"""Draws the SVG chart: connections per worker, bursts, and p99 of the mixed load.

A line in each column shows the ideal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median

from ..picture import BAR, BAR_STEP, MARGIN, STYLE, WIDTH
from ..picture import render_text as words
from .results import Run, ServerFigures
from .rounds import WORKERS
from .workloads import ideal_burst

TOP = 96
NAMES_WIDTH = 150
GAP = 52
LONGEST = 4.0
"""Length of the longest bar, as a multiple of the ideal; a longer one is cut, with a mark."""

OWN_STYLE = """
  .share { stroke: #ffffff; stroke-width: 1; }
  .ideal { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 4 3; }
  @media (prefers-color-scheme: dark) {
    .share { stroke: #0d1117; }
    .ideal { stroke: #f85149; }
  }
"""


def render_svg(subtitle: str, run: Run) -> str:
    """Return the chart; `subtitle` stands below its title."""
    servers = run.measured()
    height = TOP + max(1, len(servers)) * BAR_STEP + 44
    width = (WIDTH - 2 * MARGIN - NAMES_WIDTH - 2 * GAP) / 3
    lefts = [MARGIN + NAMES_WIDTH + number * (width + GAP) for number in range(3)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
            f' width="{WIDTH}" height="{height}" role="img">',
            "<title>How connections are spread over workers</title>",
            f"<style>{STYLE}{OWN_STYLE}</style>",
            f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"'
            "/>",
            words(MARGIN, 36, "How connections are spread over workers", "title"),
            words(MARGIN, 58, f"{WORKERS} workers. {subtitle}.", "note"),
            *_draw_names(servers),
            *_draw_shares(servers, lefts[0], width),
            *_draw_bars(servers, (lefts[1], width), "bursts of 8 x 0.5 s: s", _median_burst,
                   ideal_burst(WORKERS).seconds),
            *_draw_bars(servers, (lefts[2], width), "1 and 100 ms mixed: p99 ms", _mixed_p99,
                   run.ideal[WORKERS].p99 if WORKERS in run.ideal else 1.0),
            words(MARGIN, height - 14, "The red line is the result of a simulated single queue.",
                  "note"),
            "</svg>",
            "",
        ]
    )  # fmt: skip


def _draw_names(servers: list[tuple[str, ServerFigures]]) -> Iterator[str]:
    for line, (name, _) in enumerate(servers):
        yield words(MARGIN + NAMES_WIDTH - 8, TOP + line * BAR_STEP + 12, name, "right")


def _css_class(name: str) -> str:
    return "ours" if name.startswith("prefork") else "peer"


def _draw_shares(
    servers: list[tuple[str, ServerFigures]], left: float, width: float
) -> Iterator[str]:
    """Draw a bar for each server, with a part for each worker."""
    yield words(left, TOP - 12, "one after another: share of each", "head")
    for line, (name, figures) in enumerate(servers):
        y, x, total = TOP + line * BAR_STEP, left, sum(figures.sequential)
        for each in figures.sequential:
            length = width * each / total
            if length:
                yield _draw_bar(f"{_css_class(name)} share", x, y, length)
            x += length
    for part in range(1, WORKERS):
        yield _draw_ideal_line(left + width * part / WORKERS, len(servers))


def _median_burst(figures: ServerFigures) -> float | None:
    """Return the median seconds of the server's bursts, None without any."""
    return median(one.seconds for one in figures.bursts) if figures.bursts else None


def _mixed_p99(figures: ServerFigures) -> float | None:
    """Return p99 in milliseconds of the mixed load with WORKERS workers, None without it."""
    return figures.mixed[WORKERS].p99 if WORKERS in figures.mixed else None


def _draw_bars(
    servers: list[tuple[str, ServerFigures]],
    place: tuple[float, float],
    title: str,
    figure: Callable[[ServerFigures], float | None],
    best: float,
) -> Iterator[str]:
    """Draw the values of one column as bars; `best` is the ideal value."""
    left, width = place
    yield words(left, TOP - 12, title, "head")
    for line, (name, figures) in enumerate(servers):
        found = figure(figures)
        if found is None:
            continue
        y, length = TOP + line * BAR_STEP, min(found / best / LONGEST, 1.0) * (width - 20)
        yield _draw_bar(_css_class(name), left, y, length)
        if found / best > LONGEST:
            x = left + length - 16
            yield f'<path class="cut" d="M{x:.1f} {y + BAR + 2}l8 {-BAR - 4}"/>'
        yield words(left + length + 6, y + 12, f"{found:.2f}" if found < 10 else f"{found:.0f}")
    yield _draw_ideal_line(left + (width - 20) / LONGEST, len(servers))


def _draw_bar(kind: str, x: float, y: float, length: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{length:.1f}" height="{BAR}"/>'


def _draw_ideal_line(x: float, lines: int) -> str:
    return f'<path class="ideal" d="M{x:.1f} {TOP - 4}v{lines * BAR_STEP}"/>'
