"""Renders the results in Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from ..table import align_table
from .ideal import LONG, LONG_IN_A_HUNDRED, SHORT
from .results import Run, ServerFigures
from .rounds import WORKERS
from .workloads import BURST_CLIENTS, BURST_MS, MIXED_LOADS, Mixed, ideal_burst

IDEAL, NONE = "*ideal: a single queue*", "-"

EXPLANATION = f"""\
Every worker handles one request at a time: a request blocks its worker while it sleeps, so other
requests of the same worker wait, even while other workers are idle. *any* is prefork with
`--accept any`, which switches fair accept off; *rebalance* is prefork with `--rebalance`.

- *One after another*: each connection is closed before the next one is opened. The table has the
  connections that each of {WORKERS} workers got.
- *Bursts*: {BURST_CLIENTS} requests at once on new connections, {BURST_MS / 1000:g} s each, over
  {WORKERS} workers. The table has the seconds until all were answered, and the most requests that
  one worker got.
- *Mixed*: clients that keep their connections and send the next request at once;
  {100 - LONG_IN_A_HUNDRED} % of the requests take {SHORT * 1000:g} ms, {LONG_IN_A_HUNDRED} %
  {LONG * 1000:g} ms. The ideal is the same load on a simulated single queue. Shares are the answers
  of the least and the most busy worker, where 1.00 is an even share. Connections are those of the
  workers with the fewest and the most of them at the end. Servers that close the connection after
  each answer (uWSGI, gunicorn sync, main plain) get a new connection for each request, and so come
  nearest to a single queue."""


def render_document(about: list[str], run: Run) -> str:
    """Return the whole report; `about` has its lines about the conditions of the run."""
    return "\n".join(
        ["# How connections are spread over workers", "", *render_sections(about, run)]
    )


def render_sections(about: list[str], run: Run) -> Iterator[str]:
    """Yield the lines of the report below its title."""
    yield from (*(f"- {line}" for line in about), "", EXPLANATION, "")
    yield from ("## One after another, and bursts", "", *align_table(_connections_table(run)), "")
    for level in MIXED_LOADS:
        if level.workers in run.ideal:
            times = "" if level.scale == 1 else f", all times {level.scale:g}-fold"
            yield f"## Mixed: {level.clients} clients, {level.workers} workers{times}"
            yield from ("", *align_table(_mixed_table(run, level.workers)), "")
    if run.accepting:
        yield from ("## Connections per second of prefork, 4 workers", "")
        yield from (*align_table(_accept_rate_table(run)), "")
    for name, figures in run.measured():
        for what, why in figures.failures.items():
            yield from (f"{name} failed ({what}): {why}", "")


def _connections_table(run: Run) -> list[list[str]]:
    best = ideal_burst(WORKERS)
    asked = next((sum(one.sequential) for _, one in run.measured() if one.sequential), 0)
    even = "/".join([str(asked // WORKERS)] * WORKERS)
    head = ["server", "one after another", "burst s", "worst s", "most on a worker", "worst"]
    lines = [[IDEAL, even, *[f"{best.seconds:.2f}"] * 2, *[str(best.most)] * 2]]
    return [head, *lines, *([name, *_format_connections(one)] for name, one in run.measured())]


def _format_connections(figures: ServerFigures) -> list[str]:
    counts = "/".join(map(str, figures.sequential)) or NONE
    if not figures.bursts:
        return [counts, *[NONE] * 4]
    seconds = [one.seconds for one in figures.bursts]
    most = [one.most for one in figures.bursts]
    return [counts, f"{median(seconds):.2f}", f"{max(seconds):.2f}",
            f"{median(most):g}", str(max(most))]  # fmt: skip


def _mixed_table(run: Run, workers: int) -> list[list[str]]:
    head = [
        "server",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "shares",
        "connections",
        "starved",
    ]
    found = [(IDEAL, run.ideal[workers])]
    found += [(name, one.mixed[workers]) for name, one in run.measured() if workers in one.mixed]
    return [head, *([name, *_format_mixed(one)] for name, one in found)]


def _format_mixed(one: Mixed) -> list[str]:
    latencies = [f"{figure:.0f}" for figure in (one.rate, one.p50, one.p99, one.p999)]
    held = f"{one.fewest}-{one.fullest}"
    return [*latencies, f"{one.least:.2f}-{one.most:.2f}", held, str(one.starved or NONE)]


def _accept_rate_table(run: Run) -> list[list[str]]:
    head = ["accepting", "connections/s", "CPU µs/connection"]
    return [head, *([name, f"{one.rate:,.0f}", f"{one.cpu_us:.1f}"]
                    for name, one in run.accepting.items())]  # fmt: skip
