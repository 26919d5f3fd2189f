"""How a body arrives: how much of it, how fast, and with how much framing."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefork.http.server_state import ServerState

_MOST_FRAMING = 8
"""Bytes of a chunked body on the wire for one of content; a chunk of one byte takes six."""

GRACE = 5.0
"""Seconds in which a body may come as slowly as it likes."""


class BodyProgress:
    """Of one body after another."""

    __slots__ = ("_counted", "_received", "_service", "_since", "size")

    def __init__(self, service: "ServerState") -> None:
        self._service = service
        self.size = 0
        """Bytes of content so far."""
        self._received = 0
        """Bytes of the pieces that it came in so far, with its framing."""
        self._since = 0.0
        self._counted = 0
        """When it began to arrive, and how much of it was there then."""

    def begin(self, chunk: int) -> None:
        """The next body. Of the piece in which it begins most may belong to earlier requests."""
        self.size, self._received = 0, -chunk
        self.restart()

    def restart(self) -> None:
        """Nobody can have sent anything before now."""
        self._since, self._counted = self._service.now, self.size

    def wastes(self, chunk: int) -> bool:
        """Whether it comes with far more framing than it is worth: chunk extensions have no limit
        of their own (RFC 9112 section 7.1.1). To be asked once for each piece of it."""
        self._received += chunk
        limits = self._service.limits
        free = limits.header_size + limits.line
        return self._received > free + _MOST_FRAMING * self.size

    def deadline(self) -> float:
        """By when more of it must have arrived."""
        service = self._service
        rate = service.limits.body_rate
        if rate is None:
            return service.body_deadline
        due = self._since + GRACE + (self.size - self._counted) / rate
        return min(service.body_deadline, due)
