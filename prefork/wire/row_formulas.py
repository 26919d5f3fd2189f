"""The formulas that make a value for people and programs from scoreboard rows. PURE.

A formula gets the key of the value, the rows of some workers as ``unix.scoreboard.Rows`` reads
them, and the monotonic time; it returns the value of all these workers together. The value of one
worker is the value of its row alone.

Design
------
- **Quantiles of an app are those of all its requests.** The histograms of its workers are added
  up. Rejected: the mean of the workers' p99s, which is no p99.
- **One formula for a worker and for an app.** Rejected: a formula for a worker and a rule that
  combines the values of workers, because quantiles and means cannot be combined.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from prefork.wire import histogram

RowReadings: TypeAlias = Sequence[Mapping[str, Any]]

Formula: TypeAlias = Callable[[str, RowReadings, float], Any]
"""Called with the key of the value, the rows, and the monotonic time in seconds."""

STALE_AFTER = 2.0
"""Seconds after a missed heartbeat from which the row's recent values (rate, lag) are outdated."""

IDLE_BEAT_INTERVAL = 0.5
"""Seconds between two planned heartbeats from which they are those of an idle worker."""

RATE_TIME_CONSTANT = 5.0
"""Time constant in seconds of the exponential decay of the request rate."""


def total(key: str, rows: RowReadings, _now: float) -> float:
    """Return the sum of the field that has the name of the key."""
    summed: float = sum(row[key] for row in rows)
    return round(summed, 6)


def total_rate(_key: str, rows: RowReadings, now: float) -> float:
    """Return the requests per second of all workers at this moment."""
    return round(sum(round(_current_rate(row, now), 3) for row in rows), 6)


def largest_lag(_key: str, rows: RowReadings, now: float) -> float:
    """Return the largest lag of an event loop. The lag of a worker whose heartbeats stay away is
    at least the time for which they do."""
    return max((round(max(row["lag"], _stale_for(row, now)), 6) for row in rows), default=0.0)


def largest_age(key: str, rows: RowReadings, now: float) -> float:
    """Return the time since the earliest moment in the field that has the name of the key; 0.0
    where no worker has such a moment."""
    return max((round(max(0.0, now - row[key]), 3) for row in rows if row[key]), default=0.0)


def longest_silence(_key: str, rows: RowReadings, now: float) -> float:
    """Return the longest time for which a worker has been silent."""
    return max((round(_silent_for(row, now), 3) for row in rows), default=0.0)


def mean_wait(_key: str, rows: RowReadings, _now: float) -> float:
    """Return the mean time of a connection in the listen queue."""
    measured = sum(row["accept_asked"] for row in rows)
    waited = sum(row["accept_wait"] for row in rows)
    return float(round(waited / measured, 6)) if measured else 0.0


def totals_by_class(key: str, rows: RowReadings, _now: float) -> dict[str, int]:
    """Return the sums of the fields KEY_1xx to KEY_5xx, by class."""
    classes = [f"{digit}xx" for digit in "12345"]
    return {name: sum(row[f"{key}_{name}"] for row in rows) for name in classes}


def quantile_of_times(key: str, rows: RowReadings, _now: float) -> float:
    """Return the quantile of the times of all requests that the key names: p99 is that of 0.99."""
    times = histogram.merge_counts(row["times"] for row in rows)
    return histogram.quantile(times, int(key.removeprefix("p")) / 100)


def _silent_for(row: Mapping[str, Any], now: float) -> float:
    """Return the time since the last heartbeat, or since the next one was due, which an idle
    worker plans for later."""
    since_due: float = now - row["due"]
    return max(0.0, min(_since_beat(row, now), since_due))


def _since_beat(row: Mapping[str, Any], now: float) -> float:
    return max(0.0, now - row["beat"]) if row["beat"] else 0.0


def _stale_for(row: Mapping[str, Any], now: float) -> float:
    """Return for how long the worker has been silent if its recent values are outdated, else
    0.0."""
    silent = _silent_for(row, now)
    return silent if silent > STALE_AFTER else 0.0


def _current_rate(row: Mapping[str, Any], now: float) -> float:
    """Return the request rate of a worker at this moment; 0.0 where it is outdated.

    A worker that planned its next heartbeat for later than IDLE_BEAT_INTERVAL was idle at the last
    one and has been since, so its rate decays.
    """
    if _stale_for(row, now):
        return 0.0
    is_idle = row["due"] - row["beat"] > IDLE_BEAT_INTERVAL
    decay = math.exp(-_since_beat(row, now) / RATE_TIME_CONSTANT) if is_idle else 1.0
    return float(row["rate"] * decay)
