"""Keep one sample a second of the last ten minutes, for the charts of the page.

Samples are taken only while the page is open. A sample describes the time since the one before it,
by the differences between two readings of each worker's counters. What no worker counts is None.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from prefork.wire import histogram
from prefork.wire.scoreboard import TIMES, is_counted

MAX_SAMPLES = 600
"""Maximum number of samples."""

PERIOD = 1.0
"""Seconds between two samples."""

VIEWER_TIMEOUT = 180.0
"""Seconds for which samples are taken after the page last asked for them."""

Sample = dict[str, Any]
Row = Mapping[str, Any]


class History:
    """The samples of one app. The caller adds one each second, after ``set_baseline``."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._last: dict[int, Row] = {}
        self._last_at = 0.0

    def set_baseline(self, rows: Iterable[Row], now: float) -> None:
        """Set the readings that the next sample is compared with.

        ``now`` is their monotonic time. After a pause this prevents that the next sample is an
        average over the pause.
        """
        self._last = {row["worker"]: row for row in rows}
        self._last_at = now

    def add_sample(
        self,
        head: Row,
        rows: list[Row],
        memory: Mapping[int, int],
        now: float,
        at: float,
    ) -> None:
        """Add a sample.

        ``head`` is the master's row of the scoreboard and ``rows`` are those of the workers.
        ``memory`` holds bytes by pid. ``now`` is the monotonic time, and ``at`` the Unix time.
        """
        passed = max(now - self._last_at, 0.001)
        timed = [row for row in rows if is_counted(row, TIMES)]
        times = [sum(column) for column in zip(*map(self._increase_of_times, timed), strict=True)]
        has_times = any(times)
        self._samples.append(
            {
                "at": round(at, 3),
                "rate": self._per_second(rows, "requests", passed),
                "errors": self._per_second(rows, "answered_5xx", passed),
                "p50": histogram.quantile(times, 0.50) if has_times else None,
                "p99": histogram.quantile(times, 0.99) if has_times else None,
                "in_flight": _sum_counted(rows, "in_flight"),
                "connections": _sum_counted(rows, "connections"),
                "memory": sum(memory.values()),
                "restarts": head["restarts"],
                "target": head["target"],
                "slots": self._slots(rows, passed),
            }
        )
        self.set_baseline(rows, now)

    def since(self, at: float) -> list[Sample]:
        """Return the samples after a Unix time."""
        return [sample for sample in self._samples if sample["at"] > at]

    def _slots(self, rows: list[Row], passed: float) -> dict[str, dict[str, float | None]]:
        """Return requests a second, busy share and requests in flight by slot.

        An heir and its incumbent are in the same slot, and are added up.
        """
        by_slot: dict[str, list[Row]] = {}
        for row in rows:
            by_slot.setdefault(str(row["slot"]), []).append(row)
        return {
            slot: {
                "rate": self._per_second(own, "requests", passed),
                "busy": self._busy_share(own, passed),
                "in_flight": _sum_counted(own, "in_flight"),
            }
            for slot, own in by_slot.items()
        }

    def _per_second(self, rows: list[Row], name: str, passed: float) -> float | None:
        """Return by how much a counter of these workers grew a second; None: none counts it."""
        counted = [row for row in rows if is_counted(row, name)]
        if rows and not counted:
            return None
        return round(sum(self._increase(row, name) for row in counted) / passed, 2)

    def _busy_share(self, rows: list[Row], passed: float) -> float | None:
        counted = [row for row in rows if is_counted(row, "busy")]
        shares = [min(1.0, self._increase(row, "busy") / passed) for row in counted]
        return round(sum(shares), 3) if counted else None

    def _increase(self, row: Row, name: str) -> float:
        last = self._last.get(row["worker"])
        before = last[name] if last is not None else 0
        return float(max(0, row[name] - before))

    def _increase_of_times(self, row: Row) -> list[int]:
        last = self._last.get(row["worker"])
        if last is None:
            return list(row["times"])
        return [max(0, new - old) for new, old in zip(row["times"], last["times"], strict=True)]


def _sum_counted(rows: list[Row], name: str) -> int | None:
    """Return the sum of a field over the workers that count it; None: none of them does."""
    counted = [row[name] for row in rows if is_counted(row, name)]
    return sum(counted) if counted or not rows else None
