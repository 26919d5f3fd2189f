"""Measures everything in rounds: each round measures every peer under every load once.

Peers that stand beside each other in a table are so measured one after another, and a noisy minute
of the machine affects them alike; the rounds of one figure are far apart. Each measurement starts
its server anew. A server that fails under a load is not measured again under that load.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from .client import ClientError, Job, measure
from .loads import Load
from .machine import Cores
from .peers import Peer
from .results import Measurement, Row
from .server import Server, ServerError

START_SECONDS = 1.3
"""Mean time to start and stop a server, over all peers; used only for the estimate."""


@dataclass(frozen=True)
class Schedule:
    """How often and how long each peer is measured under each load; times in seconds."""

    rounds: int
    warmup: float
    seconds: float

    def estimate_seconds(self, rows: int) -> float:
        """Return about how many seconds the whole run takes."""
        return self.rounds * rows * (START_SECONDS + self.warmup + self.seconds)


def make_rows(peers: list[Peer], loads: list[Load]) -> list[Row]:
    """Return an empty row for each peer and each load that the peer supports."""
    return [Row(load, peer) for load in loads for peer in peers if peer.supports(load)]


def run_rounds(rows: list[Row], schedule: Schedule, cores: Cores) -> Iterator[int]:
    """Add one measurement a round to each row, and yield the round's number after each round.

    A failure of a server is kept in its row.
    """
    for number in range(1, schedule.rounds + 1):
        for row in rows:
            if row.failure:
                continue
            about = f"{number}/{schedule.rounds} {row.load.name:<15} {row.peer.name:<18}"
            try:
                measurement = _measure_row(row.peer, row.load, schedule, cores)
            except (ServerError, ClientError) as error:
                row.failure = str(error)
                _print_failure(about, error)
            else:
                row.rounds.append(measurement)
                _print_progress(f"{about}{measurement.cpu_us:10.2f} µs{measurement.rate:10,.0f}/s")
        yield number


def _measure_row(peer: Peer, load: Load, schedule: Schedule, cores: Cores) -> Measurement:
    """Start the server, measure one window, and stop the server."""
    with Server(peer, load, cores.server) as server:
        server.wait_until_ready()
        job = Job(
            load=load.name,
            port=server.port,
            pid=server.pid,
            core=cores.generator,
            connections=load.connections,
            warmup=schedule.warmup,
            seconds=schedule.seconds,
        )
        try:
            measurement = measure(job)
        except ClientError as error:
            raise ServerError(str(error), server.last_lines()) from None
        if load.need == "access-log":
            server.check_access_log(measurement.requests)
        return measurement


def _print_failure(about: str, error: ServerError | ClientError) -> None:
    _print_progress(f"{about}  failed: {error}")
    if isinstance(error, ServerError):
        for line in error.log:
            _print_progress(f"    {line}")


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
