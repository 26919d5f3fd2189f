"""Measures the arrival of a request's body: bytes, rate, and share of framing.

Design
------
- **Chunk framing may be eight times the content, and the size of a head more.** A chunk of one byte
  takes six bytes, so an honest client stays below. Chunk extensions have no limit of their own
  (RFC 9112 section 7.1.1), so without this one a client could send bytes for ever that no limit on
  bodies counts.
- **The minimum rate (--body-rate) is off by default.** A slow body costs a connection and nothing
  else, and some uploads trickle on purpose. The rate is an average from the sixth second on, and
  the time in which the server itself does not read does not count.
"""

from prefork.http.clock import Clock
from prefork.http.limits import Limits

_MAX_FRAMING_RATIO = 8
"""Bytes of a chunked body on the wire for each byte of content."""

GRACE = 5.0
"""Seconds during which a body may arrive at any rate."""


class BodyProgress:
    """The progress of one body after another on the same connection."""

    __slots__ = ("_clock", "_limits", "_rate_since", "_size_at_rate_start", "_wire_size", "size")

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self.size = 0
        """Bytes of content so far."""
        self._wire_size = 0
        """Bytes so far, with the framing."""
        self._rate_since = 0.0
        """When the measurement of the rate began, by the coarse clock."""
        self._size_at_rate_start = 0
        """``size`` at that time."""

    def begin(self, piece_size: int) -> None:
        """Begin the next body.

        ``piece_size``: bytes of the piece in which it begins. They do not count as its framing,
        because most of them may belong to earlier requests.
        """
        self.size, self._wire_size = 0, -piece_size
        self.restart()

    def restart(self) -> None:
        """Measure the rate from now on, because the server did not read until now."""
        self._rate_since, self._size_at_rate_start = self._clock.now, self.size

    def is_mostly_framing(self, piece_size: int) -> bool:
        """Count a piece, and return whether the body has far more framing than content.

        Call it once for each piece, after the content of the piece was added to ``size``.
        """
        self._wire_size += piece_size
        limits = self._limits
        allowance = limits.header_size + limits.line
        return self._wire_size > allowance + _MAX_FRAMING_RATIO * self.size

    def deadline(self) -> float:
        """Return the time by which more of the body must arrive, by the coarse clock."""
        clock = self._clock
        rate = self._limits.body_rate
        if rate is None:
            return clock.body_deadline
        due = self._rate_since + GRACE + (self.size - self._size_at_rate_start) / rate
        return min(clock.body_deadline, due)
