"""A client's transport as HTTP uses it: phases with one deadline, a slow reader, and the end.

    phase    waits for                          when the deadline passes
    FRESH    the first byte                     close
    HEAD     the rest of a request's head       408 and close
    IDLE     the next request                   close
    BODY     more of a request's body           408 and close
    BUSY     the app                            nothing; the service has the request's deadline
    SEND     the client to read its response    abort
    CLOSING  the client to close                abort

A slow reader may be slow as long as it reads at all, which is measured by what it has acknowledged.
"""

import asyncio
import math
from typing import TYPE_CHECKING

from prefork.http.peer import Peer
from prefork.http.tick import TICK_PERIOD
from prefork.http.transport import delivery_progress, has_unread_data, is_all_delivered, reset

if TYPE_CHECKING:
    from prefork.http.server_state import ServerState

LINGERING_TIME = 2.0
"""Seconds that a half-closed client may still send before it is cut off."""

NEVER = math.inf

READING_HEAD, IDLE, READING_BODY, PROCESSING, SENDING, CLOSING, NEW = range(7)
"""Phases, see the table above; a request may begin up to IDLE. Plain numbers: an enum's
member costs a lookup at each request."""


class BaseConnection(asyncio.Protocol):
    """What a connection is besides its requests."""

    __slots__ = (
        "_progress",
        "_progress_deadline",
        "_read_pauses",
        "_write_waiters",
        "deadline",
        "is_writable",
        "peer",
        "phase",
        "server",
        "transport",
    )

    transport: asyncio.Transport
    peer: Peer

    def __init__(self, server: "ServerState") -> None:
        self.server = server
        self.deadline = NEVER
        self.phase = NEW
        self.is_writable = True
        self._write_waiters: list[asyncio.Future[None]] | None = None
        self._read_pauses = 0
        self._progress = 0
        self._progress_deadline = NEVER
        """While sending and closing: until when the client must have taken something."""

    # A client that reads slowly.

    def pause_writing(self) -> None:
        """asyncio: the client reads slower than the app writes."""
        self.is_writable = False
        if self.phase != CLOSING:
            self.phase, self.deadline = SENDING, self.server.next_send_check
            self._progress_deadline = self.server.send_deadline
            self._mark_active()
            self._progress = delivery_progress(self.transport)

    def resume_writing(self) -> None:
        """asyncio: the client caught up."""
        self.is_writable = True
        if self.phase == SENDING:
            self.phase, self.deadline = PROCESSING, NEVER
            self._on_writable()
        self._wake_writers()

    def writable_waiter(self) -> "asyncio.Future[None] | None":
        """None: write on. Else it is done when the client has caught up, or is gone."""
        if self.is_writable or self.phase == CLOSING:
            return None
        waiter = self.server.loop.create_future()
        self._write_waiters = [*(self._write_waiters or ()), waiter]
        return waiter

    def _wake_writers(self) -> None:
        waiters, self._write_waiters = self._write_waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def _mark_active(self) -> None:
        """It does more than idle, so the service is to look at it."""
        raise NotImplementedError

    def _on_writable(self) -> None:
        """The client has read enough of what it was sent for more."""
        raise NotImplementedError

    # Reading.

    def pause_reading(self) -> None:
        """Stop reading; pauses add up."""
        self._read_pauses += 1
        if self._read_pauses == 1 and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Undo one pause."""
        self._read_pauses -= 1
        if self._read_pauses == 0 and not self.transport.is_closing():
            self.transport.resume_reading()

    # The end.

    def _close(self, lingering: bool) -> None:
        """Close after what was written is sent; ``gently``: the client may still be sending."""
        server, transport = self.server, self.transport
        self._mark_active()
        self.phase = CLOSING
        self._progress_deadline = self.deadline = server.send_deadline
        if lingering or self.peer.tls is not None or transport.get_write_buffer_size():
            self._progress = delivery_progress(transport)
            self.deadline = server.now + (LINGERING_TIME if lingering else 0)
        if lingering and transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()
            if self._read_pauses:
                self._read_pauses = 0
                transport.resume_reading()
        else:
            transport.close()

    def abort(self) -> None:
        """Reset the connection: the client must not take what it got for a whole response."""
        self.phase, self.deadline = CLOSING, NEVER
        reset(self.transport)

    def _expire_sending(self) -> None:
        """A slow reader may be slow as long as it reads at all."""
        server, now_taken = self.server, delivery_progress(self.transport)
        if now_taken > self._progress:
            self._progress, self._progress_deadline = now_taken, server.send_deadline
        elif server.now >= self._progress_deadline:
            self.abort()
            return
        self.deadline = min(server.next_send_check, self._progress_deadline)

    def _expire_idle(self) -> None:
        """Not who has asked while a call kept us from reading."""
        if has_unread_data(self.transport):
            self.deadline = self.server.now + TICK_PERIOD
        else:
            self._close(lingering=False)

    def _expire_closing(self) -> None:
        """Closing, and looked at in every tick: the client need not say farewell, as TLS would
        have it, once it has got everything; and it may be slow as long as it reads at all."""
        now_taken = delivery_progress(self.transport)
        if is_all_delivered(self.transport):
            self.transport.abort()
        elif now_taken > self._progress:
            self._progress, self._progress_deadline = now_taken, self.server.send_deadline
        elif self.server.now > self._progress_deadline:
            self.abort()
