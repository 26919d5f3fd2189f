"""The three workloads: sequential connections, bursts, and a mix of short and long requests."""

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
    """The size of a mixed workload.

    `scale` multiplies the service times: so many workers need no more CPU time than a few would.
    """

    workers: int
    clients: int
    scale: float = 1.0


MIXED_LOADS = (MixedLoad(4, 64), MixedLoad(16, 128), MixedLoad(64, 256, scale=4))


@dataclass(frozen=True)
class Burst:
    """The seconds until a burst was answered, and the most requests that one worker got of it."""

    seconds: float
    most: int


@dataclass(frozen=True)
class Mixed:
    """The result of a mixed workload. The names are keys of `fair.json`.

    `rate` is in answers per second. `p50`, `p99` and `p999` are latencies in milliseconds. `least`
    and `most` are the answers of the least and the most busy worker, where 1 is an even share.
    `fewest` and `fullest` are the connections of the workers with the fewest and the most of them.
    `starved` is the number of clients without any answer.
    """

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
    """Open `connections` connections one after another; return how many each worker got."""
    found = Counter(request_once(port, 0).worker for _ in range(connections))
    return counts_per_worker(found, workers)


def counts_per_worker(found: Counter[int], workers: int) -> list[int]:
    """Return the counts in descending order, with a zero for each worker that is not in `found`."""
    counts = sorted(found.values(), reverse=True)
    return counts + [0] * (workers - len(counts))


def measure_burst(port: int) -> Burst:
    """Open BURST_CLIENTS connections, then send on each a request that takes BURST_MS.

    All connections are opened before the first request. Otherwise the worker that accepted one
    would be busy before the next one arrives, and even a server that does not balance would spread
    them.
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
    """Run clients that keep their connections and send short and some long requests for `seconds`.

    The first request of each client is not counted, because all clients send it at the same time.
    Raises ClientError when a client gets a malformed answer, or too few get any.
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
    """Return the result of the same workload on a simulated single queue."""
    service = service_times(SEED, load.scale)
    latencies, took = simulate_single_queue(load.workers, load.clients, service, answers)
    each = load.clients // load.workers
    return Mixed(answers / took, *_percentiles_ms(latencies), 1.0, 1.0, each, each)


def ideal_burst(workers: int) -> Burst:
    """Return the result of a burst that is spread evenly over the workers."""
    most = -(-BURST_CLIENTS // workers)
    return Burst(most * BURST_MS / 1000, most)


def _percentiles_ms(latencies: list[float]) -> tuple[float, float, float]:
    """Return p50, p99 and p99.9 in milliseconds of latencies in seconds."""
    ordered = sorted(latencies)
    p50, p99, p999 = (percentile(ordered, share) * 1000 for share in (0.5, 0.99, 0.999))
    return p50, p99, p999


def _close_all(clients: Iterable[Client]) -> None:
    for client in clients:
        client.close()
