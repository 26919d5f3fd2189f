"""What the servers are asked, and what is made of the answers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .clients import PATIENCE_SECONDS, Client, ClientError, answers, ask
from .ideal import percentile, services, single_queue

BURST, BURST_MS = 8, 500
SEED = 20


@dataclass(frozen=True)
class Level:
    """So many workers for so many clients; `scale` stretches the service times, so that more
    workers do not need more of the machine."""

    workers: int
    clients: int
    scale: float = 1.0


LEVELS = (Level(4, 64), Level(16, 128), Level(64, 256, scale=4))


@dataclass(frozen=True)
class Burst:
    """How long it took, and the most that one worker got of it."""

    seconds: float
    most: int


@dataclass(frozen=True)
class Mixed:
    """Latencies in ms; shares of the idlest and the busiest worker, where 1 is an even share; the
    connections of the emptiest and the fullest one. `starved` clients had no answer at all."""

    rate: float
    p50: float
    p99: float
    p999: float
    least: float
    most: float
    fewest: int
    fullest: int
    starved: int = 0


def sequential(port: int, workers: int, connections: int) -> list[int]:
    """One connection after another: how many each worker got, the most first."""
    found = Counter(ask(port, 0).worker for _ in range(connections))
    return shares(found, workers)


def shares(found: Counter[int], workers: int) -> list[int]:
    """With zeros for those who are not among them."""
    counts = sorted(found.values(), reverse=True)
    return counts + [0] * (workers - len(counts))


def burst(port: int) -> Burst:
    """So many new connections at once, then on each a request that takes its worker half a second.

    The connections first: were each followed by its request, the worker that takes it would be busy
    before the next one comes, and a server could not do much wrong.
    """
    clients = [Client(port, keep_alive=False) for _ in range(BURST)]
    found: Counter[int] = Counter()
    try:
        begun = time.perf_counter()
        for client in clients:
            client.connect()
        for client in clients:
            client.send(BURST_MS)
        for _, answer in answers(clients, begun + PATIENCE_SECONDS):
            found[answer.worker] += 1
            if found.total() == BURST:
                break
        if found.total() < BURST:
            raise ClientError(f"a burst was not answered within {PATIENCE_SECONDS:g} s")
        return Burst(time.perf_counter() - begun, max(found.values()))
    finally:
        _close(clients)


def mixed(port: int, level: Level, seconds: float) -> Mixed:
    """Clients that keep their connections, most of their requests short and some long.

    The first answer of each is not counted, as all come at once in the beginning.
    """
    clients = [Client(port) for _ in range(level.clients)]
    service = services(SEED, level.scale)
    found: Counter[int] = Counter()
    latencies: list[float] = []
    last: dict[Client, int] = {}
    try:
        for client in clients:
            client.connect()
        begun = time.perf_counter()
        for client in clients:
            client.send(next(service) * 1000)
        counted, first = begun, len(clients)
        until = begun + seconds + level.scale
        for client, answer in answers(clients, until):
            client.send(next(service) * 1000)
            last[client] = answer.worker
            if first:
                first -= 1
                counted = answer.answered
                continue
            found[answer.worker] += 1
            latencies.append(answer.latency)
        if not latencies:
            raise ClientError(f"not {level.clients} answers within {seconds:g} s")
        took = time.perf_counter() - counted
        even = len(latencies) / level.workers
        counts = shares(found, level.workers)
        held = shares(Counter(last.values()), level.workers)
        return Mixed(
            len(latencies) / took, *_percentiles(latencies), counts[-1] / even, counts[0] / even,
            held[-1], held[0], len(clients) - len(last),
        )  # fmt: skip
    finally:
        _close(clients)


def ideal(level: Level, answers: int = 50_000) -> Mixed:
    """The same on a single queue."""
    service = services(SEED, level.scale)
    latencies, took = single_queue(level.workers, level.clients, service, answers)
    each = level.clients // level.workers
    return Mixed(answers / took, *_percentiles(latencies), 1.0, 1.0, each, each)


def ideal_burst(workers: int) -> Burst:
    """The same for a burst."""
    most = -(-BURST // workers)
    return Burst(most * BURST_MS / 1000, most)


def _percentiles(latencies: list[float]) -> tuple[float, float, float]:
    """In milliseconds."""
    ordered = sorted(latencies)
    p50, p99, p999 = (percentile(ordered, share) * 1000 for share in (0.5, 0.99, 0.999))
    return p50, p99, p999


def _close(clients: Iterable[Client]) -> None:
    for client in clients:
        client.close()
