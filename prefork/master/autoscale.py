"""Scaling by the load: a look once a second, and what becomes of the scaler's decisions.

It looks only where ``--max-workers`` leaves a choice; else the master never wakes for it. A
decision is a wish like TTIN's, which the pool carries out.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from time import time
from typing import Any

from prefork.config import Config
from prefork.master.autoscale_readings import AutoscaleReadings
from prefork.master.children import Children
from prefork.master.generation import Generations, bounds
from prefork.pool import MasterState, Pool, facts
from prefork.pool.scaling import Decision, Reading, Scaler, Veto

TICK = 1.0
REPEAT = 60.0
"""Seconds before the log says again what keeps it from scaling."""


class Autoscaler:
    """One for the life of the master; a reload may turn it on and off."""

    def __init__(
        self, pool: Pool, nursery: Children, generations: Generations, log: logging.Logger
    ) -> None:
        self._pool = pool
        self._generations = generations
        self._log = log
        self._readings = AutoscaleReadings(pool, nursery, generations)
        self._scaler = Scaler(bounds(self._config))
        self._due = 0.0
        self._reading: Reading | None = None
        self._last: dict[str, Any] | None = None
        self._veto: Veto | None = None
        self._told: dict[Veto, float] = {}

    @property
    def _config(self) -> Config:
        return self._generations[self._pool.plan.generation].config

    @property
    def _on(self) -> bool:
        policy = self._pool.plan.policy
        if self._config.max_workers is None or policy.least == policy.most:
            return False
        # Who drained all workers wants none; and a start is to have its say first.
        return self._pool.target > 0 and self._pool.state is not MasterState.STARTING

    def next_deadline(self) -> float | None:
        """When to look; None: never."""
        return self._due if self._on else None

    def settle(self, ask: Callable[[facts.Fact], None], now: float) -> None:
        """When it is time: read, decide, and ask the pool for what is to change."""
        if now < self._due or not self._on:
            return
        self._due = now + TICK
        self._scaler.adopt(bounds(self._config))
        self._reading = self._readings.take(now)
        if self._reading is None:
            return
        decision = self._scaler.decide(self._reading, now)
        self._veto = decision.veto
        before = self._pool.target
        if decision.target == before:
            self._complain(decision, now)
            return
        self._last = {
            "at": time(),
            "before": before,
            "workers": decision.target,
            "why": decision.reason,
        }
        ask(facts.ScaleRequested(decision.target - before, decision.reason))

    def _complain(self, decision: Decision, now: float) -> None:
        """Somebody has to know why there are not more, but not every second."""
        veto = decision.veto
        if veto is None or not decision.reason or now < self._told.get(veto, -REPEAT) + REPEAT:
            return
        self._told[veto] = now
        level = logging.INFO if veto is Veto.MOST else logging.WARNING
        text = "not scaling up from %d: %s, but %s%s"
        self._log.log(level, text, decision.target, decision.reason, veto, self._numbers(veto))

    def _numbers(self, veto: Veto) -> str:
        assert self._reading is not None, "a veto comes of a reading"
        free, each = self._reading.free >> 20, self._reading.each >> 20
        numbers = {
            Veto.CPU: f" ({self._reading.cpu:.0%} of {self._reading.cores} cores)",
            Veto.MEMORY: f" ({free}m free, one takes {each}m)",
        }
        return numbers.get(veto, "")

    def describe(self) -> dict[str, Any]:
        """The limits, the last step, what was read and what forbids more; None: it is off."""
        return {"autoscale": self._described() if self._on else None}

    def _described(self) -> dict[str, Any]:
        return {
            "min": self._scaler.bounds.least,
            "max": self._scaler.bounds.most,
            "calm": self._scaler.calm,
            "last": self._last,
            "veto": self._veto,
            "reading": asdict(self._reading) if self._reading is not None else None,
        }
