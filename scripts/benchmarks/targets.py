"""The targets of prefork: CPU time per request beside the servers that it is to keep up with.

Some are aims, which need not be reached. `scripts/bench --targets` measures the loads and peers of
all only, in one interleaved run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .peers import Interface
from .results import Row, rows_of_interface
from .table import align_table

ROUNDS, SECONDS, WARMUP = 7, 0.8, 0.4
"""The schedule of a run for the targets: about a quarter of an hour."""


@dataclass(frozen=True)
class Target:
    """prefork needs at most `limit` times the CPU time of the fastest of `peers` under `load`."""

    interface: Interface
    load: str
    peers: tuple[str, ...]
    limit: float
    is_aim: bool = False


@dataclass(frozen=True)
class Surcharge:
    """An aim: `load` costs prefork at most `limit` µs a request more than `beside` does."""

    interface: Interface
    load: str
    beside: str
    limit: float


TARGETS = (
    Target("wsgi", "hello-varied", ("bjoern", "fastwsgi"), 1.35),
    Target("wsgi", "browser-varied", ("bjoern", "fastwsgi"), 1.35),
    Target("wsgi", "hello-varied", ("granian wsgi",), 0.8),
    Target("wsgi", "browser-varied", ("granian wsgi",), 0.8),
    Target("wsgi", "hello", ("bjoern",), 1.1),
    Target("wsgi", "json", ("granian wsgi",), 1.0),
    Target("wsgi", "hello-connect", ("granian wsgi",), 1.0),
    Target("wsgi", "tls-varied", ("granian wsgi",), 1.0),
    Target("asgi", "hello", ("granian asgi", "uvicorn"), 0.6),
    Target("asgi", "hello-varied", ("granian asgi", "uvicorn"), 0.6),
    Target("asgi", "hello-connect", ("granian asgi",), 1.0),
    Target("asgi", "tls-varied", ("granian asgi",), 1.0),
    Target("asgi", "websocket", ("granian asgi", "uvicorn"), 1.0),
    Target("wsgi", "hello-varied", ("bjoern",), 1.05, is_aim=True),
    Target("asgi", "hello-varied", ("uvicorn",), 0.5, is_aim=True),
    Target("asgi", "hello-varied", ("Node http",), 0.8, is_aim=True),
)

SURCHARGES = (
    Surcharge("wsgi", "access-log-varied", "hello-varied", 0.8),
    Surcharge("asgi", "access-log-varied", "hello-varied", 0.8),
)

LOADS = list(dict.fromkeys(each.load for each in (*TARGETS, *SURCHARGES)))
PEERS = ["prefork", *dict.fromkeys(peer for target in TARGETS for peer in target.peers)]


def render_targets(rows: list[Row]) -> list[str]:
    """Return a table of all targets that were measured; no lines if none was."""
    lines = [_format_target(target, rows) for target in TARGETS]
    lines += [_format_surcharge(surcharge, rows) for surcharge in SURCHARGES]
    measured = [cells for cells in lines if cells is not None]
    head = ["load", "interface", "beside", "ratio", "at most", ""]
    return list(align_table([head, *measured])) if measured else []


def _format_target(target: Target, rows: list[Row]) -> list[str] | None:
    """Return the cells of a target; None: it was not measured."""
    own, others = None, []
    for row in _measured(target.load, target.interface, rows):
        if row.peer.is_reference:
            own = row
        elif row.peer.name in target.peers:
            others.append(row)
    if own is None or not others:
        return None
    fastest = min(others, key=lambda row: row.cpu_us)
    ratio = own.cpu_us / fastest.cpu_us
    numbers = (f"{ratio:.2f}", f"{target.limit:.2f}")
    verdict = _describe(ratio <= target.limit, target.is_aim)
    return [target.load, target.interface, fastest.peer.name, *numbers, verdict]


def _format_surcharge(surcharge: Surcharge, rows: list[Row]) -> list[str] | None:
    """Return the cells of a surcharge; None: it was not measured."""
    found = [
        row.cpu_us
        for load in (surcharge.load, surcharge.beside)
        for row in _measured(load, surcharge.interface, rows)
        if row.peer.is_reference
    ]
    if len(found) < 2:
        return None
    more = found[0] - found[1]
    numbers = (f"{more:+.1f} µs", f"{surcharge.limit:+.1f} µs")
    verdict = _describe(more <= surcharge.limit, is_aim=True)
    return [surcharge.load, surcharge.interface, surcharge.beside, *numbers, verdict]


def _describe(is_reached: bool, is_aim: bool) -> str:
    if is_aim:
        return "aim, reached" if is_reached else "aim, not reached"
    return "holds" if is_reached else "missed"


def _measured(load: str, interface: Interface, rows: list[Row]) -> Iterator[Row]:
    for row in rows:
        if row.load.name == load and row.rounds and not row.failure:
            yield from rows_of_interface([row], row.load, interface)
