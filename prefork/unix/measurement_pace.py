"""Decide when a costly measurement is due again.

Design
------
- **A measurement takes at most two per cent of the time,** whatever it costs: after one that took
  0.1 s the next is due in 5 s. A fixed period is too long for one worker or too short for 200: to
  find the 600 processes of 200 workers that are ``npm start`` takes 30 to 120 ms.
- **The time is that of the processor,** of the thread that measures. Rejected: elapsed time. On a
  busy machine most of it is waiting for a core: a look of 20 ms took 0.2 s beside fourteen other
  programs, and a program was not looked at again before its boot timeout of 2 s.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, thread_time

PAUSE_FACTOR = 50
"""A measurement is not repeated for as many times as long as it took."""


class MeasurementPace:
    """The pace of one kind of measurement, at most once in ``interval`` seconds.

    ``factor``: the pause after a measurement, in multiples of the processor time that it took.
    ``due_at``: monotonic time of the next one.
    """

    def __init__(self, interval: float = 0.0, factor: float = PAUSE_FACTOR) -> None:
        self._interval = interval
        self._factor = factor
        self.due_at = 0.0

    def is_due(self, now: float) -> bool:
        """Return whether the next measurement is due at monotonic time ``now``."""
        return now >= self.due_at

    @contextmanager
    def measure(self) -> Iterator[None]:
        """A context manager around a measurement, whose cost decides when the next one is due."""
        started_at = thread_time()
        try:
            yield
        finally:
            took = thread_time() - started_at
            self.due_at = monotonic() + max(self._interval, self._factor * took)
