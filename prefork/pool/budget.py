"""How often a slot may fail, and how long it then waits before it is filled again.

A first crash after a stable life is answered at once; failures in a row wait 0.1 x 1.5^n seconds,
capped at 15, with a tenth of jitter so that slots do not march in step. Half a minute of service
clears the account. Waiting never touches the workers that still serve.
"""

from dataclasses import dataclass
from random import Random

FIRST_DELAY = 0.1
GROWTH = 1.5
MAX_DELAY = 15.0
RESET_AFTER = 30.0


@dataclass(slots=True)
class Budget:
    """The account of one slot. ``due``: not to be filled before; ``closed``: not at all."""

    failures: int = 0
    due_at: float = 0.0
    is_closed: bool = False

    def charge(self, now: float, uptime: float, min_uptime: float, rng: Random) -> None:
        """Book a failure of a worker that was ready for ``uptime`` seconds (0: never)."""
        if uptime >= RESET_AFTER:
            self.failures = 0
        self.failures += 1
        if self.failures == 1 and uptime >= min_uptime:
            self.due_at = now
            return
        # The exponent is bounded because 1.5 ** 2000 overflows a float after days of failing.
        delay = min(MAX_DELAY, FIRST_DELAY * GROWTH ** min(self.failures, 50))
        self.due_at = now + delay * rng.uniform(0.9, 1.1)

    def clear(self) -> None:
        """Forget everything: new code deserves a fresh chance."""
        self.failures, self.due_at, self.is_closed = 0, 0.0, False
