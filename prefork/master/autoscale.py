"""Autoscaling: one reading a second, and the request to the pool that follows from it.

It takes readings only where ``--max-workers`` leaves a choice; elsewhere the master never wakes for
it. A decision of the scaler is a ScaleRequested fact like that of SIGTTIN, which the pool carries
out.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from time import time
from typing import Any

from prefork.config import Config
from prefork.master.autoscale_readings import AutoscaleReadings
from prefork.master.children import Children
from prefork.master.generation import Generations, worker_bounds
from prefork.pool import MasterState, Pool, facts
from prefork.pool.scaling import Decision, Reading, Scaler, Veto

INTERVAL = 1.0
"""Seconds from one reading to the next."""

REPEAT_WARNING_AFTER = 60.0
"""Seconds before the log repeats what keeps the master from scaling up."""


class Autoscaler:
    """Takes readings, asks the scaler, and requests its decisions from the pool.

    One object for the life of the master; a reload may turn it on and off.
    """

    def __init__(
        self, pool: Pool, children: Children, generations: Generations, log: logging.Logger
    ) -> None:
        self._pool = pool
        self._generations = generations
        self._log = log
        self._readings = AutoscaleReadings(pool, children, generations)
        self._scaler = Scaler(worker_bounds(self._config))
        self._due_at = 0.0
        self._reading: Reading | None = None
        self._last_step: dict[str, Any] | None = None
        self._veto: Veto | None = None
        self._logged_at: dict[Veto, float] = {}

    @property
    def _config(self) -> Config:
        return self._generations[self._pool.plan.generation].config

    @property
    def _is_on(self) -> bool:
        policy = self._pool.plan.policy
        if self._config.max_workers is None or policy.min_workers == policy.max_workers:
            return False
        # An operator who drained all workers wants none, and a first start may still fail.
        return self._pool.target > 0 and self._pool.state is not MasterState.STARTING

    def next_deadline(self) -> float | None:
        """Return the monotonic time of the next reading; None while it is off."""
        return self._due_at if self._is_on else None

    def run_due(self, handle: Callable[[facts.Fact], None], now: float) -> None:
        """Take a reading if it is due, and request the change that the scaler decides.

        ``handle``: passes a fact to the pool. ``now``: monotonic time.
        """
        if now < self._due_at or not self._is_on:
            return
        self._due_at = now + INTERVAL
        self._scaler.set_bounds(worker_bounds(self._config))
        self._reading = self._readings.take(now)
        if self._reading is None:
            return
        decision = self._scaler.decide(self._reading, now)
        self._veto = decision.veto
        before = self._pool.target
        if decision.target == before:
            self._log_veto(decision, now)
            return
        self._last_step = {
            "at": time(),
            "before": before,
            "workers": decision.target,
            "why": decision.reason,
        }
        handle(facts.ScaleRequested(decision.target - before, decision.reason))

    def _log_veto(self, decision: Decision, now: float) -> None:
        """Log why there are not more workers, once a minute for each veto."""
        veto = decision.veto
        if veto is None or not decision.reason:
            return
        if now < self._logged_at.get(veto, -REPEAT_WARNING_AFTER) + REPEAT_WARNING_AFTER:
            return
        self._logged_at[veto] = now
        level = logging.INFO if veto is Veto.MAX_WORKERS else logging.WARNING
        text = "not scaling up from %d: %s, but %s%s"
        self._log.log(level, text, decision.target, decision.reason, veto, self._numbers(veto))

    def _numbers(self, veto: Veto) -> str:
        """Return the figures behind the veto, for the log."""
        assert self._reading is not None, "a veto follows from a reading"
        free, each = self._reading.free >> 20, self._reading.each >> 20
        numbers = {
            Veto.CPU: f" ({self._reading.cpu:.0%} of {self._reading.cores} cores)",
            Veto.MEMORY: f" ({free}m free, one takes {each}m)",
        }
        return numbers.get(veto, "")

    def describe(self) -> dict[str, Any]:
        """Return limits, last step, reading and veto for ``prefork show``; None: it is off."""
        return {"autoscale": self._describe() if self._is_on else None}

    def _describe(self) -> dict[str, Any]:
        return {
            "min": self._scaler.bounds.min_workers,
            "max": self._scaler.bounds.max_workers,
            "calm": self._scaler.calm_seconds,
            "last": self._last_step,
            "veto": self._veto,
            "reading": asdict(self._reading) if self._reading is not None else None,
        }
