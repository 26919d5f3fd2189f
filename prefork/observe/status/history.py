"""The last minutes, a sample a second, for the charts; only while somebody looks.

A sample tells what happened since the one before it: the difference of two readings of each worker.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from prefork.wire import histogram

MAX_SAMPLES = 600
"""Samples that are kept."""

PERIOD = 1.0

VIEWER_TIMEOUT = 180.0
"""Seconds after the last look for which samples are taken."""

Sample = dict[str, Any]
Row = Mapping[str, Any]


class History:
    """Give it the scoreboard each second, from ``begin`` on."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._last: dict[int, Row] = {}
        self._last_at = 0.0

    def set_baseline(self, rows: Iterable[Row], now: float) -> None:
        """What comes is counted from here (monotonic); a gap is not averaged."""
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
        """Add a sample at ``now`` (monotonic) and ``at`` (Unix time). ``memory``: bytes by pid."""
        passed = max(now - self._last_at, 0.001)
        answered = sum(self._increase(row, "requests") for row in rows)
        errors = sum(self._increase(row, "answered_5xx") for row in rows)
        times = [sum(column) for column in zip(*map(self._increase_of_times, rows), strict=True)]
        self._samples.append(
            {
                "at": round(at, 3),
                "rate": round(answered / passed, 2),
                "errors": round(errors / passed, 2),
                "p50": histogram.quantile(times, 0.50) if answered else None,
                "p99": histogram.quantile(times, 0.99) if answered else None,
                "in_flight": sum(row["in_flight"] for row in rows),
                "connections": sum(row["connections"] for row in rows),
                "memory": sum(memory.values()),
                "restarts": head["restarts"],
                "target": head["target"],
                "slots": self._slots(rows, passed),
            }
        )
        self.set_baseline(rows, now)

    def since(self, at: float) -> list[Sample]:
        """Those after this moment (Unix time)."""
        return [sample for sample in self._samples if sample["at"] > at]

    def _slots(self, rows: list[Row], passed: float) -> dict[str, dict[str, float]]:
        """Requests a second and busy share of each; an heir and its incumbent are one slot."""
        slots: dict[str, dict[str, float]] = {}
        for row in rows:
            slot = slots.setdefault(str(row["slot"]), {"rate": 0.0, "busy": 0.0, "in_flight": 0})
            slot["rate"] += round(self._increase(row, "requests") / passed, 2)
            slot["busy"] += round(min(1.0, self._increase(row, "busy") / passed), 3)
            slot["in_flight"] += row["in_flight"]
        return slots

    def _increase(self, row: Row, name: str) -> float:
        last = self._last.get(row["worker"])
        before = last[name] if last is not None else 0
        return float(max(0, row[name] - before))

    def _increase_of_times(self, row: Row) -> list[int]:
        last = self._last.get(row["worker"])
        if last is None:
            return list(row["times"])
        return [max(0, new - old) for new, old in zip(row["times"], last["times"], strict=True)]
