"""Compute the values for people and metrics from the rows of the scoreboard. PURE.

Design
------
- **Quantiles of an app are those of all its requests.** The histograms of its workers are added
  up. Rejected: the mean of the workers' p99s, which is no p99.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from prefork.wire import histogram

STALE_AFTER = 2.0
"""Seconds after a missed heartbeat from which the row's recent values (rate, lag) are outdated."""

IDLE_BEAT_INTERVAL = 0.5
"""Seconds between two planned heartbeats from which they are those of an idle worker."""

RATE_TIME_CONSTANT = 5.0
"""Time constant in seconds of the exponential decay of the request rate."""


def worker_values(row: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the values of one worker at ``now`` (monotonic).

    ``row``: as ``unix.scoreboard.Rows`` reads it. Times are in seconds. ``silent``: time since the
    last heartbeat, or since the next one was due, which an idle worker plans for later.
    ``oldest``: age of the longest request in flight. ``p50`` and ``p99``: of all requests that the
    worker answered. ``accept_wait``: mean time of a connection in the listen queue.
    """
    since_beat = max(0.0, now - row["beat"]) if row["beat"] else 0.0
    silent = max(0.0, min(since_beat, now - row["due"]))
    stale = silent > STALE_AFTER
    times = row["times"]
    return {
        "requests": row["requests"],
        "in_flight": row["in_flight"],
        "connections": row["connections"],
        "accepted": row["accepted"],
        "accept_wait": _mean(row["accept_wait"], row["accept_asked"]),
        "answered": {digit + "xx": row[f"answered_{digit}xx"] for digit in "12345"},
        "unanswered": row["unanswered"],
        "sent": row["sent"],
        "rate": 0.0 if stale else round(_current_rate(row, since_beat), 3),
        "busy": round(row["busy"], 6),
        "lag": round(max(row["lag"], silent if stale else 0.0), 6),
        "oldest": round(max(0.0, now - row["oldest"]), 3) if row["oldest"] else 0.0,
        "silent": round(silent, 3),
        "p50": histogram.quantile(times, 0.50),
        "p99": histogram.quantile(times, 0.99),
    }


def _current_rate(row: Mapping[str, Any], since_beat: float) -> float:
    """Return the request rate at this moment.

    A worker that planned its next heartbeat for later than IDLE_BEAT_INTERVAL was idle at the last
    one and has been since, so its rate decays.
    """
    is_idle = row["due"] - row["beat"] > IDLE_BEAT_INTERVAL
    return float(
        row["rate"] * math.exp(-since_beat / RATE_TIME_CONSTANT) if is_idle else row["rate"]
    )


SUMS = ("requests", "in_flight", "connections", "accepted", "unanswered", "sent", "rate", "busy")
MAXIMA = ("lag", "oldest", "silent")


def app_values(rows: Sequence[Mapping[str, Any]], now: float) -> dict[str, Any]:
    """Return the values of all given workers together, with the keys of ``worker_values``.

    They are sums, maxima (lag, oldest, silent) and the quantiles of all requests. Workers that have
    ended are not included.
    """
    values = [worker_values(row, now) for row in rows]
    times = histogram.merge_counts(row["times"] for row in rows)
    waited = sum(row["accept_wait"] for row in rows)
    asked = sum(row["accept_asked"] for row in rows)
    return {
        **{name: round(sum(one[name] for one in values), 6) for name in SUMS},
        **{name: max((one[name] for one in values), default=0.0) for name in MAXIMA},
        "answered": {
            digit + "xx": sum(one["answered"][digit + "xx"] for one in values) for digit in "12345"
        },
        "accept_wait": _mean(waited, asked),
        "p50": histogram.quantile(times, 0.50),
        "p99": histogram.quantile(times, 0.99),
    }


def _mean(total: float, count: int) -> float:
    return round(total / count, 6) if count else 0.0
