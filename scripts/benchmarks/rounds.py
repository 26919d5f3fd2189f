"""The order of it all: in round one every load over every peer, then round two, and so on.

Neighbours in a table are so neighbours in time, a noisy minute hits them alike, and a figure's
rounds lie far apart. Each server is started afresh for each figure; one that fails under a load is
not asked again for that load.
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
"""What it takes to start and end a server, on the average of all peers; for the estimate only."""


@dataclass(frozen=True)
class Schedule:
    """How often and for how long each peer is measured under each load."""

    rounds: int
    warmup: float
    seconds: float

    def estimate_seconds(self, rows: int) -> float:
        """Seconds that it all takes."""
        return self.rounds * rows * (START_SECONDS + self.warmup + self.seconds)


def make_rows(peers: list[Peer], loads: list[Load]) -> list[Row]:
    """One row for each peer and each load that it can do, without figures yet."""
    return [Row(load, peer) for load in loads for peer in peers if peer.supports(load)]


def run_rounds(rows: list[Row], schedule: Schedule, cores: Cores) -> Iterator[int]:
    """Fills the rows; yields after each round, when all rows have as many figures."""
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
