"""The load of `workloads.mixed` on a single queue: as fair as it can be.

Pure: time is a number. Each client has one request outstanding and sends the next one as soon as
it is answered; whichever worker is free takes the request that waits for longest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import chain, repeat
from random import Random

SHORT, LONG = 0.001, 0.1
LONG_IN_A_HUNDRED = 10
"""Service times in seconds, and how many of a hundred requests are long ones."""


def service_times(seed: int, scale: float = 1.0) -> Iterator[float]:
    """Service times without end, the same ones for the same seed.

    Of each hundred exactly so many are long, in an order of chance: so a short run has as many as
    a long one.
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
    """The latencies of so many answers in order of size, and the seconds that they took.

    What was sent in the beginning, when all come at once, is not among them.
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
    """The value that `share` of all (from 0 to 1) do not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
