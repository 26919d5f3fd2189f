"""How a body arrives: how much of it, how fast, and with how much framing."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefork.http.server_state import ServerState

_MAX_FRAMING_RATIO = 8
"""Bytes of a chunked body on the wire for one of content; a chunk of one byte takes six."""

GRACE = 5.0
"""Seconds in which a body may come as slowly as it likes."""


class BodyProgress:
    """Of one body after another."""

    __slots__ = ("_rate_since", "_service", "_size_at_rate_start", "_wire_size", "size")

    def __init__(self, service: "ServerState") -> None:
        self._service = service
        self.size = 0
        """Bytes of content so far."""
        self._wire_size = 0
        """Bytes of the pieces that it came in so far, with its framing."""
        self._rate_since = 0.0
        self._size_at_rate_start = 0
        """When it began to arrive, and how much of it was there then."""

    def begin(self, piece_size: int) -> None:
        """The next body. Of the piece in which it begins most may belong to earlier requests."""
        self.size, self._wire_size = 0, -piece_size
        self.restart()

    def restart(self) -> None:
        """Nobody can have sent anything before now."""
        self._rate_since, self._size_at_rate_start = self._service.now, self.size

    def is_mostly_framing(self, piece_size: int) -> bool:
        """Whether it comes with far more framing than it is worth: chunk extensions have no limit
        of their own (RFC 9112 section 7.1.1). To be asked once for each piece of it."""
        self._wire_size += piece_size
        limits = self._service.limits
        free = limits.header_size + limits.line
        return self._wire_size > free + _MAX_FRAMING_RATIO * self.size

    def deadline(self) -> float:
        """By when more of it must have arrived."""
        service = self._service
        rate = service.limits.body_rate
        if rate is None:
            return service.body_deadline
        due = self._rate_since + GRACE + (self.size - self._size_at_rate_start) / rate
        return min(service.body_deadline, due)
