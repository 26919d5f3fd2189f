"""Decide when a costly measurement is due again.

Design
------
- **A measurement takes at most two per cent of the time,** whatever it costs: after one that took
  0.1 s the next is due in 5 s. A fixed period is too long for one worker or too short for 200: to
  find the 600 processes of 200 workers that are ``npm start`` takes 30 to 120 ms.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, perf_counter

PAUSE_FACTOR = 50
"""A measurement is not repeated for as many times as long as it took."""


class MeasurementPace:
    """The pace of one kind of measurement, at most once in ``interval`` seconds.

    ``due_at``: monotonic time of the next one.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self.due_at = 0.0

    def is_due(self, now: float) -> bool:
        """Whether the next measurement is due at monotonic time ``now``."""
        return now >= self.due_at

    @contextmanager
    def measure(self) -> Iterator[None]:
        """A context manager around a measurement, whose time decides when the next one is due."""
        started_at = perf_counter()
        try:
            yield
        finally:
            took = perf_counter() - started_at
            self.due_at = monotonic() + max(self._interval, PAUSE_FACTOR * took)
