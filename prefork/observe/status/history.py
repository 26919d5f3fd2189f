"""Keep one sample a second of the last ten minutes, for the charts of the page.

Samples are taken only while the page is open. A sample describes the time since the one before it,
by the differences between two readings of each worker's counters.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from prefork.wire import histogram

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
        """Return the samples after a Unix time."""
        return [sample for sample in self._samples if sample["at"] > at]

    def _slots(self, rows: list[Row], passed: float) -> dict[str, dict[str, float]]:
        """Return requests a second, busy share and requests in flight by slot.

        An heir and its incumbent are in the same slot, and are added up.
        """
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
