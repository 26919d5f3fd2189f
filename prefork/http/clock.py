"""The coarse clock of a worker, and the deadlines that follow from it.

Time is coarse on purpose. A tick (server_state.py) moves the clock a few times a second and
computes all deadlines that begin now. A request therefore costs no timer and no system call, only
the copy of a number.
"""

from time import time

from prefork.http.limits import Limits
from prefork.http.response_head import DefaultFields
from prefork.http.tick import TICK_PERIOD

SEND_CHECKS = 8
"""Checks of a client that reads slowly, within one send timeout. A check finds the bytes that the
client took since the last one, so a client that stops is cut off an eighth of the timeout late.
With one check it would be twice the timeout."""


class Clock:
    """The time of the last tick, in seconds of the event loop's clock, and deadlines from then on.

    Each deadline includes one tick, because it is compared with the clock only in a later tick.
    """

    now: float
    idle_deadline: float
    """By when a connection must begin its next request."""
    head_deadline: float
    """By when the head of a request must be complete."""
    body_deadline: float
    """By when more of a body must arrive."""
    send_deadline: float
    """By when the client must read something."""
    next_send_check: float
    """When to look next at a client that reads slowly."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self.advance(now)

    def advance(self, now: float) -> None:
        """Move the clock to ``now``, compute the deadlines, and update the Date of responses."""
        self.now = now
        limits = self._limits
        from_next_tick = now + TICK_PERIOD
        self.idle_deadline = from_next_tick + limits.keepalive
        self.head_deadline = from_next_tick + limits.header_timeout
        self.body_deadline = from_next_tick + limits.body_timeout
        self.send_deadline = from_next_tick + limits.send_timeout
        self.next_send_check = now + limits.send_timeout / SEND_CHECKS
        DefaultFields.update(time(), limits.server)
