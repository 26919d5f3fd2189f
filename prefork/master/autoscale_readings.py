"""The readings of the autoscaler: from the pool, the accept queues, the scoreboard and the kernel.

Design
------
- **The scheduler's statistics tell whether workers sleep or compute** (``unix/cpu_usage.py``): time
  on a core, and time ready to run without one. See ``pool/scaling.py`` for the reason.
- **A worker is its process tree** (worker_trees.py): the work of ``npm start`` is done two
  processes below. Its memory is PSS, as for ``--max-memory``.
- **The statistics of each thread are read for two per cent of the time at most.** For 2,600 threads
  they take up to 0.2 s; the shares are then those of ten seconds, not of one.
"""

from collections.abc import Iterable
from typing import Any

from prefork.http.tick import TICK_PERIOD
from prefork.master.children import Children
from prefork.master.generation import Generations
from prefork.pool import MasterState, Pool
from prefork.pool.scaling import Reading
from prefork.pool.workers import STARTING_STATES, Worker
from prefork.unix import memory
from prefork.unix.accept_queue import accept_queue_length
from prefork.unix.cores import usable_cores
from prefork.unix.cpu_usage import CoreUsage, ProcessCpuShares
from prefork.unix.measurement_pace import MeasurementPace
from prefork.unix.memory_footprint import proportional_size, resident_size

SHARES_INTERVAL = 0.5
"""Seconds between two looks at the CPU of the workers, at least: less than from one reading to the
next."""

MEASURE_EVERY = 10
"""Readings after which the memory of one worker is measured anew."""


class AutoscaleReadings:
    """Takes readings; remembers the last one, because most figures are of the time in between."""

    def __init__(self, pool: Pool, children: Children, generations: Generations) -> None:
        self._pool = pool
        self._children = children
        self._generations = generations
        self._load_sampler = WorkerLoadSampler()
        self._cores = CoreUsage()
        self._cpu_shares = ProcessCpuShares()
        self._shares: dict[int, tuple[float, float]] = {}
        """By pid of a worker: the shares of its processes together, as they were read last."""
        self._pace = MeasurementPace(SHARES_INTERVAL)
        self._sizes: dict[int, int] = {}
        self._looks = 0

    def take(self, now: float) -> Reading | None:
        """Return a reading at monotonic time ``now``; None: no worker served since the last."""
        pool = self._pool
        ready = pool.workers.ready()
        served = {worker.slot for worker in ready}
        rows = self._rows(ready)
        busy, lag, wait = self._load_sampler.sample(rows, now)
        shares = self._measure_shares([worker.pid for worker in ready], now)
        cpu = self._cores.measure(now)
        if not shares:
            return None
        free, total = memory.available_memory()
        next_to_leave = max(rows.values(), key=lambda row: int(row["slot"]))
        listeners = self._generations[pool.plan.generation].listeners
        return Reading(
            target=pool.target,
            ready=len(ready),
            booting=sum(w.state in STARTING_STATES and w.slot not in served for w in pool.workers),
            queue=sum(accept_queue_length(listener.socket) for listener in listeners),
            wait=wait,
            busy=busy,
            lag=lag,
            running=_mean(running for running, _ in shares),
            starving=_mean(starving for _, starving in shares),
            cpu=cpu,
            cores=usable_cores(),
            free=free,
            total=total,
            each=self._measure_size(ready),
            rolling=self._is_rolling(),
            failing=any(
                self._is_failing(slot) for slot in range(pool.target) if slot not in served
            ),
            occupied=next_to_leave["in_flight"] > 0,
            working=next_to_leave["working"] > 0,
        )

    def _rows(self, ready: list[Worker]) -> dict[int, dict[str, Any]]:
        """Return the rows of the scoreboard of these workers, by serial number."""
        processes = [self._children.get(worker.id) for worker in ready]
        return {each.worker: each.row.read() for each in processes if each is not None}

    def _is_failing(self, slot: int) -> bool:
        """Return whether workers of this slot failed and are tried again."""
        budget = self._pool.workers.budget(slot)
        return budget.failures > 0 and not budget.is_closed

    def _is_rolling(self) -> bool:
        """Return whether a reload goes on, or a failed one is being rolled back."""
        newest = self._pool.plan.generation
        outdated = any(w.generation != newest for w in self._pool.workers.serving_or_starting())
        return outdated or self._pool.state is MasterState.RELOADING

    def _measure_shares(self, pids: list[int], now: float) -> list[tuple[float, float]]:
        """Return for each worker the shares of its processes: on a core, and ready without one.

        A worker that is new has no shares yet.
        """
        if self._pace.is_due(now):
            with self._pace.measure():
                trees = self._children.trees.find(pids)
                found = self._cpu_shares.measure({p for t in trees.values() for p in t}, now)
            self._shares = {
                root: _add_shares(found[pid] for pid in tree if pid in found)
                for root, tree in trees.items()
                if root in found
            }
        return [self._shares[pid] for pid in pids if pid in self._shares]

    def _measure_size(self, ready: list[Worker]) -> int:
        """Return the mean memory of a worker in bytes.

        One worker is measured per reading at most, because PSS of a large one takes many ms.
        """
        pids = [worker.pid for worker in ready]
        new = [pid for pid in pids if pid not in self._sizes]
        self._looks += 1
        if not new and self._looks % MEASURE_EVERY == 0:
            new = [pids[self._looks // MEASURE_EVERY % len(pids)]]
        for pid in new[:1]:
            (tree,) = self._children.trees.find([pid]).values()
            self._sizes[pid] = sum(map(_size, tree))
        self._sizes = {pid: size for pid, size in self._sizes.items() if pid in pids}
        return round(_mean(self._sizes.values()))


class WorkerLoadSampler:
    """Computes load figures from the counters in the workers' rows, from one sample to the next."""

    def __init__(self) -> None:
        self._sampled_at = 0.0
        self._before: dict[int, tuple[float, float, int]] = {}

    def sample(
        self, rows: dict[int, dict[str, Any]], now: float
    ) -> tuple[float | None, float, float]:
        """Return the mean busy share, lateness of the event loops, and wait of a connection.

        The share is None if no worker counts it; lateness and wait are in seconds.

        ``rows``: the rows of the serving workers. A worker whose loop is blocked cannot write its
        row, so it counts as busy since its heartbeat was due.
        """
        held = {worker: _overdue(row, now) for worker, row in rows.items()}
        seen = {
            worker: (row["busy"] + held[worker], row["accept_wait"], row["accept_asked"])
            for worker, row in rows.items()
        }
        known = [(self._before[worker], seen[worker]) for worker in seen if worker in self._before]
        span, self._sampled_at, self._before = now - self._sampled_at, now, seen
        lag = _mean(max(row["lag"], held[worker]) for worker, row in rows.items())
        waited = sum(after[1] - before[1] for before, after in known)
        accepted = sum(after[2] - before[2] for before, after in known)
        busy = None
        if any(row["busy"] for row in rows.values()):
            busy = min(1.0, _mean(max(0.0, after[0] - before[0]) / span for before, after in known))
        return busy, lag, waited / accepted if accepted else 0.0


def _overdue(row: dict[str, Any], now: float) -> float:
    """Return the seconds since the heartbeat of the worker was due.

    An idle worker beats more rarely, and wrote into its row when its next heartbeat is due.
    """
    return max(0.0, now - max(float(row["beat"]) + TICK_PERIOD, float(row["due"])))


def _size(pid: int) -> int:
    """Return the PSS of a process in bytes; its RSS if the kernel does not tell the PSS."""
    pss = proportional_size(pid)
    return resident_size(pid) if pss is None else pss


def _add_shares(shares: Iterable[tuple[float, float]]) -> tuple[float, float]:
    found = list(shares)
    return sum(running for running, _ in found), sum(starving for _, starving in found)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0
