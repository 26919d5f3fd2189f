"""The results of a run, by server, and their JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .servers import SERVERS
from .workloads import Burst, Mixed


@dataclass(frozen=True)
class AcceptRate:
    """The result for one accept option: connections per second, and CPU microseconds for each."""

    rate: float
    cpu_us: float


@dataclass
class ServerFigures:
    """The results of one server. The names are keys of `fair.json`.

    `sequential` has the connections of each worker. `mixed` is keyed by the number of workers,
    `failures` by the workload that failed.
    """

    sequential: list[int] = field(default_factory=list)
    bursts: list[Burst] = field(default_factory=list)
    mixed: dict[int, Mixed] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


@dataclass
class Run:
    """The results of a run. The names are keys of `fair.json`.

    `servers` is keyed by name, `ideal` by the number of workers, `accepting` by the accept option.
    """

    servers: dict[str, ServerFigures] = field(default_factory=dict)
    ideal: dict[int, Mixed] = field(default_factory=dict)
    accepting: dict[str, AcceptRate] = field(default_factory=dict)

    def measured(self) -> list[tuple[str, ServerFigures]]:
        """Return names and results of the measured servers, in the order of their declaration."""
        return [
            (server.name, self.servers[server.name])
            for server in SERVERS
            if server.name in self.servers
        ]


def as_json(run: Run) -> dict[str, Any]:
    """Return the run for `fair.json`."""
    return asdict(run)


def from_json(found: dict[str, Any]) -> Run:
    """Return the run that `as_json` wrote, without servers that no longer exist."""
    known = {server.name for server in SERVERS}
    return Run(
        {
            name: ServerFigures(
                figures["sequential"],
                [Burst(**one) for one in figures["bursts"]],
                _by_workers(figures["mixed"]),
                figures["failures"],
            )
            for name, figures in found["servers"].items()
            if name in known
        },
        _by_workers(found["ideal"]),
        {name: AcceptRate(**one) for name, one in found["accepting"].items()},
    )


def _by_workers(found: dict[str, Any]) -> dict[int, Mixed]:
    return {int(workers): Mixed(**one) for workers, one in found.items()}
