"""Request rate and quantiles of the last seconds, from the difference of two samples.

A scoreboard counts since a worker began. A live view shows what happens now: requests a second and
quantiles of the time between now and a few samples before.

Design
------
- **The figures are a difference of two samples, up to four seconds apart.** ``list`` without
  ``--watch`` shows them since the workers began.
- **Samples belong to the serial number that the master gave the worker,** so that an heir does not
  continue the figures of the worker that it replaced.
- **Quantiles of an app are those of all its requests:** the histograms of its workers are added,
  because no mean of p99s is a p99 (``wire/row_formulas.py``).
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import sub
from typing import Any

from prefork.wire import histogram
from prefork.wire.scoreboard import TIMES, is_counted

WINDOW_SECONDS = 4.0
"""Seconds that the samples span at most."""


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    requests: int
    times: Sequence[int]


class WindowedStats:
    """The figures of one app in the last seconds, made from samples of its workers."""

    def __init__(self) -> None:
        self._samples: dict[int, deque[_Sample]] = {}
        """By the serial number of the worker, which the master uses only once."""

    def add_to(
        self, app: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], now: float
    ) -> dict[str, Any]:
        """Take a sample, and return the app with ``rate``, ``p50`` and ``p99`` of the last seconds.

        They are set for each worker and for all workers together (``figures``). ``rows``: the rows
        of the app's scoreboard; ``now``: seconds of the monotonic clock. Workers without a row, and
        apps without rows, keep the figures that they had, as do workers that do not count these.
        """
        if not rows:
            return dict(app)
        counted = [row for row in rows if is_counted(row, "requests") and is_counted(row, TIMES)]
        self._samples = {row["worker"]: self._add_sample(row, now) for row in counted}
        by_pid = {row["pid"]: self._samples[row["worker"]] for row in counted}
        workers = [
            {**worker, **_compute_stats([by_pid[worker["pid"]]])}
            if worker["pid"] in by_pid
            else worker
            for worker in app.get("workers", ())
        ]
        app_stats = _compute_stats(list(self._samples.values())) if counted else {}
        return {**app, "workers": workers, "figures": {**app.get("figures", {}), **app_stats}}

    def _add_sample(self, row: Mapping[str, Any], now: float) -> deque[_Sample]:
        samples = self._samples.get(row["worker"], deque())
        samples.append(_Sample(now, row["requests"], row["times"]))
        while samples[-1].at - samples[0].at > WINDOW_SECONDS:
            samples.popleft()
        return samples


def _compute_stats(workers: Sequence[deque[_Sample]]) -> dict[str, float]:
    """Return rate and quantiles of some workers together; each is given by its samples."""
    times = histogram.merge_counts(
        # Never negative, because workers write the rows, and a worker may write anything.
        [max(0, new) for new in map(sub, samples[-1].times, samples[0].times)]
        for samples in workers
    )
    return {
        "rate": sum(map(_requests_per_second, workers)),
        "p50": histogram.quantile(times, 0.50),
        "p99": histogram.quantile(times, 0.99),
    }


def _requests_per_second(samples: deque[_Sample]) -> float:
    passed = samples[-1].at - samples[0].at
    return max(0, samples[-1].requests - samples[0].requests) / passed if passed > 0 else 0.0
