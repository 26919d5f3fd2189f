"""What apps did in the last seconds, by the difference of two looks at their scoreboards.

A scoreboard counts since a worker began. For somebody who watches, an hour ago is of no interest:
requests a second and quantiles are here those between now and a few looks before.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import sub
from typing import Any

from prefork.wire import histogram

WINDOW_SECONDS = 4.0
"""Seconds that are remembered."""


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    requests: int
    times: Sequence[int]


class WindowedStats:
    """Of one app."""

    def __init__(self) -> None:
        self._looks: dict[int, deque[_Sample]] = {}
        """By the serial number of the worker, which the master gives only once."""

    def add_to(
        self, app: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], now: float
    ) -> dict[str, Any]:
        """The app with ``rate``, ``p50`` and ``p99`` of the last seconds, for each worker and for
        all of them (``figures``). ``rows``: its scoreboard; what it does not tell stays."""
        if not rows:
            return dict(app)
        self._looks = {row["worker"]: self._note(row, now) for row in rows}
        by_pid = {row["pid"]: self._looks[row["worker"]] for row in rows}
        workers = [
            {**worker, **_difference([by_pid[worker["pid"]]])}
            if worker["pid"] in by_pid
            else worker
            for worker in app.get("workers", ())
        ]
        together = _difference(list(self._looks.values()))
        return {**app, "workers": workers, "figures": {**app.get("figures", {}), **together}}

    def _note(self, row: Mapping[str, Any], now: float) -> deque[_Sample]:
        looks = self._looks.get(row["worker"], deque())
        looks.append(_Sample(now, row["requests"], row["times"]))
        while looks[-1].at - looks[0].at > WINDOW_SECONDS:
            looks.popleft()
        return looks


def _difference(workers: Sequence[deque[_Sample]]) -> dict[str, float]:
    times = histogram.merge_counts(
        [max(0, new) for new in map(sub, looks[-1].times, looks[0].times)] for looks in workers
    )
    return {
        "rate": sum(map(_rate, workers)),
        "p50": histogram.quantile(times, 0.50),
        "p99": histogram.quantile(times, 0.99),
    }


def _rate(looks: deque[_Sample]) -> float:
    passed = looks[-1].at - looks[0].at
    return max(0, looks[-1].requests - looks[0].requests) / passed if passed > 0 else 0.0
