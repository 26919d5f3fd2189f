"""The report of a master about itself, for ``prefork show`` and ``prefork plan``."""

from collections.abc import Mapping
from dataclasses import asdict
from time import monotonic, time
from typing import Any

from prefork.config import OPTIONS, Config
from prefork.config.settings_diff import MASKED, list_changes
from prefork.master.children import Children
from prefork.master.generation import describe_build, worker_bounds, worker_count
from prefork.observe.event_text import describe_status
from prefork.pool import Pool
from prefork.pool.workers import Worker
from prefork.unix.scoreboard import EMPTY_ROW
from prefork.wire.leader_view import find_leader, find_lease
from prefork.wire.row_values import app_values, worker_values
from prefork.wire.scoreboard import NOTHING_COUNTED


def describe(
    pool: Pool,
    children: Children,
    config: Config,
    listening: list[str],
    restarts: Mapping[int, int],
) -> dict[str, Any]:
    """Return state, workers by slot, figures and settings.

    ``listening``: the addresses. ``restarts``: failures by slot. The values of ``env`` are masked.
    """
    now = monotonic()
    rows = [_read_row(worker, children) for worker in pool.workers]
    workers = [
        {
            **_describe_worker(worker, children, now),
            **worker_values(row, now),
            "restarts": restarts.get(worker.slot, 0),
        }
        for worker, row in zip(pool.workers, rows, strict=True)
    ]
    return {
        "state": pool.shown_state.value,
        "status": describe_status(pool),
        "failure": pool.failure,
        "generation": pool.plan.generation,
        "target": pool.target,
        "ready": pool.ready_count,
        "namespace": config.namespace,
        "listening": listening,
        "restarts": sum(restarts.values()),
        "leader": find_leader(rows, pool.leader.token),
        "lease": find_lease(rows),
        "figures": app_values(rows, now),
        "workers": sorted(workers, key=lambda each: (each["slot"], each["generation"])),
        "build": describe_build(config),
        "settings": describe_settings(config),
    }


def describe_plan(pool: Pool, old: Config, new: Config) -> dict[str, Any]:
    """Return what a reload from ``old`` to ``new`` would change: settings, workers, slots."""
    found = list_changes(old, new)
    # As in the pool: a scaled number of workers survives a reload that does not change the setting.
    # That of the plan, because a drained pool has target 0 but keeps its number.
    kept = old.workers == new.workers
    count = worker_bounds(new).clamp(pool.plan.target if kept else worker_count(new.workers))
    return {
        "changes": [asdict(change) for change in found],
        "workers": pool.target,
        "then": count,
        "surge": new.surge,
        "slots": sorted({worker.slot for worker in pool.workers}),
    }


def describe_settings(config: Config) -> dict[str, Any]:
    """Return the settings that differ from the default, by option name, as in a settings file."""
    shown: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        value = getattr(config, name)
        if name == "env":
            value = dict.fromkeys(value, MASKED)
            if value:
                shown[option.key] = value
        elif value != option.default:
            shown[option.key] = option.value_type.format_shown(value)
    return shown


def _read_row(worker: Worker, children: Children) -> dict[str, Any]:
    process = children.get(worker.id)
    gone = {**EMPTY_ROW, "uncounted": NOTHING_COUNTED}
    return process.row.read() if process is not None else gone


def _describe_worker(worker: Worker, children: Children, now: float) -> dict[str, Any]:
    process = children.get(worker.id)
    return {
        "slot": worker.slot,
        "pid": worker.pid,
        "generation": worker.generation,
        "state": worker.state.value,
        "worn": worker.worn,
        "since": time() - (now - worker.spawned_at),
        "says": process.status_text if process is not None else "",
        "node": process.node if process is not None else "",
    }
