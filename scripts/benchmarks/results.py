"""The results: the measurement of one window, and the medians of a peer under a load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

from .loads import LOADS, Load
from .peers import PEERS, Interface, Peer

SATURATED = 0.9
"""Share of its core above which a process counts as the bottleneck."""

Bottleneck = Literal["server", "generator", "neither"]


@dataclass(frozen=True)
class Measurement:
    """The measurement of one peer in one window. The names are keys of `bench.json`.

    `cpu_ns` is the CPU time of the server's process tree, `generator_ns` that of the generator.
    `starved` is the number of connections without any answer. `memory_bytes` is the server's PSS.
    """

    requests: int
    elapsed_ns: int
    cpu_ns: int
    p50_ns: int
    p99_ns: int
    max_ns: int
    reconnects: int
    starved: int
    generator_ns: int
    memory_bytes: int

    @property
    def cpu_us(self) -> float:
        """CPU time per request, in microseconds."""
        return self.cpu_ns / self.requests / 1e3

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.elapsed_ns * 1e9

    @property
    def busy(self) -> float:
        """The share of its core that the server used."""
        return self.cpu_ns / self.elapsed_ns

    @property
    def generator_busy(self) -> float:
        """The share of its core that the generator used."""
        return self.generator_ns / self.elapsed_ns


@dataclass
class Row:
    """A peer under a load: a measurement of each round, or the failure that ended them."""

    load: Load
    peer: Peer
    rounds: list[Measurement] = field(default_factory=list)
    failure: str | None = None

    def median(self, figure: Callable[[Measurement], float]) -> float:
        """Return the median of `figure` over the rounds."""
        return median(map(figure, self.rounds))

    @property
    def cpu_us(self) -> float:
        """CPU time per request in microseconds, the median of the rounds."""
        return self.median(lambda one: one.cpu_us)

    @property
    def cpu_us_range(self) -> tuple[float, float]:
        """The lowest and the highest CPU time per request of all rounds, in microseconds."""
        figures = [one.cpu_us for one in self.rounds]
        return min(figures), max(figures)

    @property
    def is_keep_alive(self) -> bool:
        """Return whether the server closed its connection after less than half of the requests."""
        return self.median(lambda one: one.reconnects / one.requests) < 0.5

    @property
    def bottleneck(self) -> Bottleneck:
        """The process that used at least SATURATED of its core, which limits rate and latency."""
        if self.median(lambda one: one.busy) >= SATURATED:
            return "server"
        if self.median(lambda one: one.generator_busy) >= SATURATED:
            return "generator"
        return "neither"

    def ratio_to(self, reference: Row | None) -> float | None:
        """Return CPU per request divided by that of `reference`, None unless both were measured."""
        if self.failure or reference is None or reference.failure:
            return None
        return self.cpu_us / reference.cpu_us


def rows_of_interface(rows: list[Row], load: Load, interface: Interface) -> list[Row]:
    """Return the rows of one load whose peers have this interface."""
    return [row for row in rows if row.load == load and interface in row.peer.interfaces]


def find_reference(rows: list[Row]) -> Row | None:
    """Return the row of prefork among `rows`, if it is there."""
    return next((row for row in rows if row.peer.is_reference), None)


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """Return all rows for `bench.json`: each with all its rounds and with the medians."""
    return [_row_as_json(row) for row in rows]


def _row_as_json(row: Row) -> dict[str, Any]:
    names = {"load": row.load.name, "server": row.peer.name}
    if row.failure or not row.rounds:
        return names | {"failure": row.failure or "not measured"}
    return names | {
        "cpu_us_per_request": row.cpu_us,
        "requests_per_second": row.median(lambda one: one.rate),
        "p50_ms": row.median(lambda one: one.p50_ns) / 1e6,
        "p99_ms": row.median(lambda one: one.p99_ns) / 1e6,
        "max_ms": row.median(lambda one: one.max_ns) / 1e6,
        "memory_mb": row.median(lambda one: one.memory_bytes) / 1e6,
        "busy": row.median(lambda one: one.busy),
        "keep_alive": row.is_keep_alive,
        "rounds": [asdict(one) for one in row.rounds],
    }


def from_json(found: list[dict[str, Any]]) -> list[Row]:
    """Return the rows that `as_json` wrote, without loads and peers that no longer exist."""
    peers = {peer.name: peer for peer in PEERS}
    return [
        Row(
            LOADS[one["load"]],
            peers[one["server"]],
            [Measurement(**figures) for figures in one.get("rounds", [])],
            one.get("failure"),
        )
        for one in found
        if one["load"] in LOADS and one["server"] in peers
    ]
