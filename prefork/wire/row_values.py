"""What the numbers of a scoreboard row mean to people and metrics. PURE."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from prefork.wire import histogram

STALE_AFTER = 2.0
"""Seconds without a beat that was due after which what was true "of late" is not any more."""

IDLE_BEAT_INTERVAL = 0.5
"""Seconds between two beats beyond which they are those of an idle worker."""

RATE_TIME_CONSTANT = 5.0
"""Seconds over which the rate forgets."""


def worker_values(row: Mapping[str, Any], now: float) -> dict[str, Any]:
    """``row`` as ``unix.scoreboard.Rows`` reads it, at ``now`` (monotonic).

    Times are in seconds. ``silent``: since the last beat, or since the next one is due, which an
    idle worker plans for later; ``oldest``: age of the longest request in
    flight; ``p50`` and ``p99`` of all requests that the worker has answered; ``accept_wait``: mean
    time that a connection waited in the queue.
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
    """As it would be if the worker beat now. A worker that plans its next beat for so late had
    nothing to do at the last one, and has had nothing since."""
    is_idle = row["due"] - row["beat"] > IDLE_BEAT_INTERVAL
    return float(
        row["rate"] * math.exp(-since_beat / RATE_TIME_CONSTANT) if is_idle else row["rate"]
    )


SUMS = ("requests", "in_flight", "connections", "accepted", "unanswered", "sent", "rate", "busy")
MAXIMA = ("lag", "oldest", "silent")


def app_values(rows: Sequence[Mapping[str, Any]], now: float) -> dict[str, Any]:
    """What ``reading`` says, of all these workers as one: sums, the worst, and the quantiles of all
    their requests. Who has left is not in it."""
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
