"""Simulates the mixed workload of `workloads.py` on a single queue, the fairest way to serve it.

Each client has one request outstanding, and sends the next one when it gets an answer. A free
worker takes the request that has waited longest. The simulation uses no clock: time is a number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import chain, repeat
from random import Random

SHORT, LONG = 0.001, 0.1
LONG_IN_A_HUNDRED = 10
"""Service times of a short and a long request in seconds, and the long ones of each hundred."""


def service_times(seed: int, scale: float = 1.0) -> Iterator[float]:
    """Yield service times in seconds without end, the same ones for the same seed.

    Exactly LONG_IN_A_HUNDRED of each hundred are long, in random order, so that a short run has the
    same share of them as a long run. All times are multiplied by `scale`.
    """
    random = Random(seed)
    hundred = [LONG] * LONG_IN_A_HUNDRED + [SHORT] * (100 - LONG_IN_A_HUNDRED)

    def shuffled() -> list[float]:
        random.shuffle(hundred)
        return [service * scale for service in hundred]

    return chain.from_iterable(shuffled() for _ in repeat(None))


def simulate_single_queue(
    workers: int, clients: int, service: Iterator[float], answers: int
) -> tuple[list[float], float]:
    """Simulate and return the sorted latencies of `answers` requests, and the time that they took.

    `service` yields the service time of each request. The first request of each client is not
    counted, because all clients send it at the same time.
    """
    waiting = deque(repeat(0.0, clients))
    in_progress: list[tuple[float, float]] = []
    free, now, started_at = workers, 0.0, 0.0
    latencies: list[float] = []
    for number in range(clients + answers):
        while free and waiting:
            sent = waiting.popleft()
            heappush(in_progress, (now + next(service), sent))
            free -= 1
        now, sent = heappop(in_progress)
        free += 1
        waiting.append(now)
        if number < clients:
            started_at = now
        else:
            latencies.append(now - sent)
    return sorted(latencies), now - started_at


def percentile(ordered: list[float], share: float) -> float:
    """Return the value below or at which `share` (from 0 to 1) of the sorted values are."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
