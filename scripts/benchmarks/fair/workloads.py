"""What the servers are asked, and what is made of the answers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .clients import TIMEOUT_SECONDS, Client, ClientError, receive_answers, request_once
from .ideal import percentile, service_times, simulate_single_queue

BURST_CLIENTS, BURST_MS = 8, 500
SEED = 20


@dataclass(frozen=True)
class MixedLoad:
    """So many workers for so many clients; `scale` stretches the service times, so that more
    workers do not need more of the machine."""

    workers: int
    clients: int
    scale: float = 1.0


MIXED_LOADS = (MixedLoad(4, 64), MixedLoad(16, 128), MixedLoad(64, 256, scale=4))


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


def measure_sequential(port: int, workers: int, connections: int) -> list[int]:
    """One connection after another: how many each worker got, the most first."""
    found = Counter(request_once(port, 0).worker for _ in range(connections))
    return counts_per_worker(found, workers)


def counts_per_worker(found: Counter[int], workers: int) -> list[int]:
    """With zeros for those who are not among them."""
    counts = sorted(found.values(), reverse=True)
    return counts + [0] * (workers - len(counts))


def measure_burst(port: int) -> Burst:
    """So many new connections at once, then on each a request that takes its worker half a second.

    The connections first: were each followed by its request, the worker that takes it would be busy
    before the next one comes, and a server could not do much wrong.
    """
    clients = [Client(port, keep_alive=False) for _ in range(BURST_CLIENTS)]
    found: Counter[int] = Counter()
    try:
        started_at = time.perf_counter()
        for client in clients:
            client.connect()
        for client in clients:
            client.send(BURST_MS)
        for _, answer in receive_answers(clients, started_at + TIMEOUT_SECONDS):
            found[answer.worker] += 1
            if found.total() == BURST_CLIENTS:
                break
        if found.total() < BURST_CLIENTS:
            raise ClientError(f"a burst was not answered within {TIMEOUT_SECONDS:g} s")
        return Burst(time.perf_counter() - started_at, max(found.values()))
    finally:
        _close_all(clients)


def measure_mixed(port: int, load: MixedLoad, seconds: float) -> Mixed:
    """Clients that keep their connections, most of their requests short and some long.

    The first answer of each is not counted, as all come at once in the beginning.
    """
    clients = [Client(port) for _ in range(load.clients)]
    service = service_times(SEED, load.scale)
    found: Counter[int] = Counter()
    latencies: list[float] = []
    last: dict[Client, int] = {}
    try:
        for client in clients:
            client.connect()
        started_at = time.perf_counter()
        for client in clients:
            client.send(next(service) * 1000)
        counted, first = started_at, len(clients)
        until = started_at + seconds + load.scale
        for client, answer in receive_answers(clients, until):
            client.send(next(service) * 1000)
            last[client] = answer.worker
            if first:
                first -= 1
                counted = answer.answered_at
                continue
            found[answer.worker] += 1
            latencies.append(answer.latency)
        if not latencies:
            raise ClientError(f"not {load.clients} answers within {seconds:g} s")
        took = time.perf_counter() - counted
        even = len(latencies) / load.workers
        counts = counts_per_worker(found, load.workers)
        held = counts_per_worker(Counter(last.values()), load.workers)
        return Mixed(
            len(latencies) / took, *_percentiles_ms(latencies), counts[-1] / even, counts[0] / even,
            held[-1], held[0], len(clients) - len(last),
        )  # fmt: skip
    finally:
        _close_all(clients)


def ideal_mixed(load: MixedLoad, answers: int = 50_000) -> Mixed:
    """The same on a single queue."""
    service = service_times(SEED, load.scale)
    latencies, took = simulate_single_queue(load.workers, load.clients, service, answers)
    each = load.clients // load.workers
    return Mixed(answers / took, *_percentiles_ms(latencies), 1.0, 1.0, each, each)


def ideal_burst(workers: int) -> Burst:
    """The same for a burst."""
    most = -(-BURST_CLIENTS // workers)
    return Burst(most * BURST_MS / 1000, most)


def _percentiles_ms(latencies: list[float]) -> tuple[float, float, float]:
    """In milliseconds."""
    ordered = sorted(latencies)
    p50, p99, p999 = (percentile(ordered, share) * 1000 for share in (0.5, 0.99, 0.999))
    return p50, p99, p999


def _close_all(clients: Iterable[Client]) -> None:
    for client in clients:
        client.close()
