"""What a master says about itself: to whoever asks on the control socket, and in its folder."""

from collections.abc import Mapping
from dataclasses import asdict
from time import monotonic, time
from typing import Any

from prefork.config import OPTIONS, Config
from prefork.config.settings_diff import MASKED, changes
from prefork.master.children import Nursery
from prefork.master.generation import bounds, worker_count
from prefork.observe.event_text import status
from prefork.pool import Pool
from prefork.pool.workers import Worker
from prefork.unix.scoreboard import EMPTY
from prefork.wire.row_values import reading, together


def describe(
    pool: Pool, nursery: Nursery, config: Config, listening: list[str], restarts: Mapping[int, int]
) -> dict[str, Any]:
    """State, workers by slot, and settings; the values of environment variables are masked."""
    now = monotonic()
    rows = [_row(worker, nursery) for worker in pool.workers]
    workers = [
        {
            **_worker(worker, nursery, now),
            **reading(row, now),
            "restarts": restarts.get(worker.slot, 0),
        }
        for worker, row in zip(pool.workers, rows, strict=True)
    ]
    return {
        "state": pool.state.value,
        "status": status(pool),
        "failure": pool.failure,
        "generation": pool.plan.generation,
        "target": pool.target,
        "ready": pool.ready,
        "namespace": config.namespace,
        "listening": listening,
        "restarts": sum(restarts.values()),
        "figures": together(rows, now),
        "workers": sorted(workers, key=lambda each: (each["slot"], each["generation"])),
        "settings": settings(config),
    }


def plan(pool: Pool, old: Config, new: Config) -> dict[str, Any]:
    """What a reload would change, and how: how many workers, which slot first."""
    found = changes(old, new)
    # As the pool does: a number that somebody scaled to outlives a reload that does not change it.
    kept = old.workers == new.workers
    count = bounds(new).clip(pool.target if kept else worker_count(new.workers))
    return {
        "changes": [asdict(change) for change in found],
        "workers": pool.target,
        "then": count,
        "surge": new.surge,
        "slots": sorted({worker.slot for worker in pool.workers}),
    }


def settings(config: Config) -> dict[str, Any]:
    """Those that are not the default, as a person would write them."""
    shown: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        value = getattr(config, name)
        if name == "env":
            value = dict.fromkeys(value, MASKED)
            if value:
                shown[option.key] = value
        elif value != option.default:
            shown[option.key] = option.kind.show(value)
    return shown


def _row(worker: Worker, nursery: Nursery) -> dict[str, Any]:
    nursling = nursery.get(worker.id)
    return nursling.row.read() if nursling is not None else EMPTY


def _worker(worker: Worker, nursery: Nursery, now: float) -> dict[str, Any]:
    nursling = nursery.get(worker.id)
    return {
        "slot": worker.slot,
        "pid": worker.pid,
        "generation": worker.generation,
        "state": worker.state.value,
        "worn": worker.worn,
        "since": time() - (now - worker.born),
        "says": nursling.says if nursling is not None else "",
    }
