"""The scoreboard of an app, read without its master: also when the master hangs."""

import re
from collections.abc import Mapping
from time import monotonic
from typing import Any

from prefork.unix.scoreboard import Rows, open_scoreboard
from prefork.wire.fields import WORKER_STATES
from prefork.wire.leader_view import find_leader, find_lease
from prefork.wire.row_values import app_values, worker_values

# Another user may have written the state, and root must not open a device that it names.
_DESCRIPTOR = re.compile(r"/proc/\d+/fd/\d+")

READY = WORKER_STATES.index("ready")


def open_app_scoreboard(state: Mapping[str, Any]) -> Rows | None:
    """Open the scoreboard that the app's folder names.

    ``state``: the app's description. None: there is none, or this user may not read it.
    """
    path = str(state.get("scoreboard") or "")
    if not _DESCRIPTOR.fullmatch(path):
        return None
    try:
        return open_scoreboard(path)
    except (OSError, ValueError):
        return None


def describe_from_scoreboard(state: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the workers of an app as its master would, as far as the scoreboard knows them.

    Returns the keys generation, target, ready, restarts, leader, lease, figures and workers;
    nothing without a scoreboard.
    """
    rows_view = open_app_scoreboard(state)
    if rows_view is None:
        return {}
    head, rows, now = rows_view.head(), list(rows_view), monotonic()
    workers = [_describe_worker(row, now) for row in rows]
    return {
        "generation": head["generation"],
        "target": head["target"],
        "ready": sum(row["state"] == READY for row in rows),
        "restarts": head["restarts"],
        "leader": find_leader(rows, head["leader_token"]),
        "lease": find_lease(rows),
        "figures": app_values(rows, now),
        "workers": sorted(workers, key=lambda worker: (worker["slot"], worker["generation"])),
    }


def _describe_worker(row: Mapping[str, Any], now: float) -> dict[str, Any]:
    return {
        "slot": row["slot"],
        "pid": row["pid"],
        "generation": row["generation"],
        "state": WORKER_STATES[row["state"]] if row["state"] < len(WORKER_STATES) else "",
        "since": row["born"],
        **worker_values(row, now),
    }
