"""The figures of one window, and those of a peer under a load over all its rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

from .loads import LOADS, Load
from .peers import PEERS, Interface, Peer

SATURATED = 0.9

Bottleneck = Literal["server", "generator", "nobody"]


@dataclass(frozen=True)
class Measurement:
    """One peer's window of one round."""

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
    """A peer under a load, and what its rounds gave; the first failure ends them."""

    load: Load
    peer: Peer
    rounds: list[Measurement] = field(default_factory=list)
    failure: str | None = None

    def median(self, figure: Callable[[Measurement], float]) -> float:
        return median(map(figure, self.rounds))

    @property
    def cpu_us(self) -> float:
        return self.median(lambda one: one.cpu_us)

    @property
    def cpu_us_range(self) -> tuple[float, float]:
        figures = [one.cpu_us for one in self.rounds]
        return min(figures), max(figures)

    @property
    def is_keep_alive(self) -> bool:
        return self.median(lambda one: one.reconnects / one.requests) < 0.5

    @property
    def bottleneck(self) -> Bottleneck:
        """Who was at the end of its core: whose rate and latencies these are."""
        if self.median(lambda one: one.busy) >= SATURATED:
            return "server"
        if self.median(lambda one: one.generator_busy) >= SATURATED:
            return "generator"
        return "nobody"

    def ratio_to(self, reference: Row | None) -> float | None:
        """CPU per request against the reference's, when both have been measured."""
        if self.failure or reference is None or reference.failure:
            return None
        return self.cpu_us / reference.cpu_us


def rows_of_interface(rows: list[Row], load: Load, interface: Interface) -> list[Row]:
    """The rows of one load that belong beside prefork's `interface`."""
    return [row for row in rows if row.load == load and interface in row.peer.interfaces]


def find_reference(rows: list[Row]) -> Row | None:
    return next((row for row in rows if row.peer.is_reference), None)


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """Every row with every round, and the medians for those who read the file themselves."""
    return [_row_as_json(row) for row in rows]


def _row_as_json(row: Row) -> dict[str, Any]:
    who = {"load": row.load.name, "server": row.peer.name}
    if row.failure or not row.rounds:
        return who | {"failure": row.failure or "not measured"}
    return who | {
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
    """What `as_json` wrote, without the rows of loads and peers that are no more."""
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
