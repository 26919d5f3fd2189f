"""What apps use and how much they do, from one look to the next: CPU, memory, requests a second."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class Reading:
    """``cpu``: percent of one core since the last look; ``memory``: bytes (PSS); ``rate``: requests
    a second since the last look."""

    cpu: float
    memory: int
    rate: float
    in_flight: int


class Gauges:
    """Remembers the last look at each process."""

    def __init__(self) -> None:
        self._cpu: dict[int, tuple[float, float]] = {}
        self._requests: dict[int, tuple[float, int]] = {}

    def read(self, app: Mapping[str, Any]) -> Reading:
        """Of master and workers together."""
        parts = [self.worker(worker) for worker in app.get("workers", [])]
        master = app.get("pid")
        cpu, memory = self._process(master) if master and app.get("answers") else (0.0, 0)
        return Reading(
            cpu + sum(part.cpu for part in parts),
            memory + sum(part.memory for part in parts),
            sum(part.rate for part in parts),
            sum(part.in_flight for part in parts),
        )

    def worker(self, worker: Mapping[str, Any]) -> Reading:
        """Of one worker, as ``show`` describes it."""
        pid, requests = int(worker["pid"]), int(worker["requests"])
        cpu, memory = self._process(pid)
        now = time.monotonic()
        then, before = self._requests.get(pid, (now, requests))
        if now - then > 0.1:
            self._requests[pid] = (now, requests)
        self._requests.setdefault(pid, (now, requests))
        rate = (requests - before) / (now - then) if now > then else 0.0
        return Reading(cpu, memory, max(0.0, rate), int(worker["in_flight"]))

    def _process(self, pid: int) -> tuple[float, int]:
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            memory = int(process.memory_full_info().pss)
        except psutil.Error:
            return 0.0, 0  # it ended meanwhile, or is not ours to look at
        now, used = time.monotonic(), times.user + times.system
        then, before = self._cpu.get(pid, (now, used))
        if now - then > 0.1:
            self._cpu[pid] = (now, used)
        self._cpu.setdefault(pid, (now, used))
        return (100 * (used - before) / (now - then) if now > then else 0.0), memory
