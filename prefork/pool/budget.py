"""The restart budget of a slot: how often it may fail, and how long it waits after a failure.

The first crash after a stable life is answered at once. Further failures in a row wait
0.1 x 1.5^n seconds, at most 15, with a jitter of 10 % so that slots do not restart in step. A
worker that served for 30 seconds resets the count. The wait concerns the empty slot only: the
workers of other slots serve on.
"""

from dataclasses import dataclass
from random import Random

FIRST_DELAY = 0.1
"""Seconds."""

GROWTH = 1.5
"""Factor from one delay to the next."""

MAX_DELAY = 15.0
"""Seconds."""

RESET_AFTER = 30.0
"""Seconds of service after which earlier failures are forgotten."""


@dataclass(slots=True)
class Budget:
    """The failures of one slot.

    ``failures``: failures in a row. ``due_at``: monotonic time before which the slot gets no
    worker.
    ``is_closed``: the slot gets no worker at all, because its work is done.
    ``is_suspect``: a reload forgot failures of workers that had not recovered, and the new code has
    yet to show that it is better.
    """

    failures: int = 0
    due_at: float = 0.0
    is_closed: bool = False
    is_suspect: bool = False

    def charge(self, now: float, uptime: float, min_uptime: float, rng: Random) -> None:
        """Count a failure of a worker that was ready for ``uptime`` seconds (0: never ready).

        The slot is due at once if this is the first failure and the worker served for at least
        ``min_uptime`` seconds; otherwise it is due after a delay that grows with each failure.
        """
        if uptime >= RESET_AFTER:
            self.failures = 0
        self.failures += 1
        if self.failures == 1 and uptime >= min_uptime:
            self.due_at = now
            return
        # The exponent is bounded because 1.5 ** 2000 overflows a float after days of failing.
        delay = min(MAX_DELAY, FIRST_DELAY * GROWTH ** min(self.failures, 50))
        self.due_at = now + delay * rng.uniform(0.9, 1.1)

    def clear(self, is_suspect: bool = False) -> None:
        """Forget all failures and open the slot again, because a reload brings new code."""
        self.failures, self.due_at, self.is_closed = 0, 0.0, False
        self.is_suspect = is_suspect
