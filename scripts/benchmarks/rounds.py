"""The order of it all: every peer in round one, every peer in round two, and so on.

Neighbours in a table are so neighbours in time, and a noisy minute hits them alike. Each server is
started afresh in each round; one that fails is left out of the later ones.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from .client import ClientError, Job, measure
from .loads import Load
from .machine import Cores
from .peers import Peer
from .results import Measurement, Row
from .server import Server, ServerError


@dataclass(frozen=True)
class Schedule:
    rounds: int
    warmup: float
    seconds: float


def run(peers: list[Peer], load: Load, schedule: Schedule, cores: Cores) -> list[Row]:
    rows = [Row(peer) for peer in peers]
    for number in range(1, schedule.rounds + 1):
        for row in rows:
            if row.failure:
                continue
            label = f"round {number}/{schedule.rounds}  {row.peer.name:<42}"
            try:
                measurement = _measure(row.peer, load, schedule, cores)
            except (ServerError, ClientError) as error:
                row.failure = str(error)
                _tell_failure(label, error)
            else:
                row.rounds.append(measurement)
                _tell(f"{label}{measurement.cpu_us:8.2f} µs{measurement.rate:9,.0f}/s")
    return rows


def _measure(peer: Peer, load: Load, schedule: Schedule, cores: Cores) -> Measurement:
    with Server(peer, cores.server) as server:
        server.ready(load)
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
            return measure(job)
        except ClientError as error:
            raise ServerError(str(error), server.last_lines()) from None


def _tell_failure(label: str, error: ServerError | ClientError) -> None:
    _tell(f"{label}failed: {error}")
    if isinstance(error, ServerError):
        for line in error.log:
            _tell(f"    {line}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
