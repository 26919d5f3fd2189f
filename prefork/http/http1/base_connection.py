"""The transport of a client as HTTP uses it: phases with one deadline each, a slow client, the end.

    phase         waits for                          when the deadline passes
    NEW           the first byte                     close
    READING_HEAD  the rest of a request's head       408 and close
    IDLE          the next request                   close
    READING_BODY  more of a request's body           408 and close
    PROCESSING    the app                            nothing; the worker has the request's deadline
    SENDING       the client to read its response    reset
    CLOSING       the client to close                reset

A client may read slowly as long as it reads at all (flow_control.py). After a refusal nothing more
is read from the client: the response is sent, the connection half-closed, and for a moment what
still arrives is discarded, because closing with unread bytes would reset the connection and destroy
the response (RFC 9112 section 9.6).

Design
------
- **Idle connections are not closed at once when a worker drains.** A client may be sending at that
  very moment. A connection that was active within --linger gets so long to send one more request,
  which is answered with ``Connection: close``; the others are closed.
- **An idle connection whose client has just sent a request is not closed,** whatever its deadline
  says: a call of the app kept the worker from reading. At a stop of 4 workers with calls of 0.3 s
  and 32 clients that was all of them, with the default --linger; now all 32 are answered.
- **The end of TLS is not waited for.** Few clients answer a close_notify, and asyncio would wait
  30 s for it. A connection is cut in the first tick that finds all bytes acknowledged.
- **A connection lingers for two seconds after a refusal,** like lingering_close of nginx, whose
  default is up to 30 s (lingering_time).
"""

import asyncio
import math

from prefork.errors import ClientError
from prefork.http.flow_control import FlowControl
from prefork.http.peer import Peer
from prefork.http.server_state import ServerState
from prefork.http.tick import TICK_PERIOD
from prefork.http.transport import has_unread_data, is_all_delivered, reset

LINGERING_TIME = 2.0
"""Seconds that a half-closed client may still send before the connection is closed."""

NEVER = math.inf

READING_HEAD, IDLE, READING_BODY, PROCESSING, SENDING, CLOSING, NEW = range(7)
"""Phases, see the table above. A request may begin in the phases up to IDLE. Plain numbers, because
the member of an enum costs a look-up at each request."""


class BaseConnection(asyncio.Protocol):
    """A connection without its requests: phases, deadline, back-pressure, closing."""

    __slots__ = (
        "_read_pauses",
        "close_requested",
        "deadline",
        "flow",
        "peer",
        "phase",
        "server",
        "transport",
    )

    transport: asyncio.Transport
    peer: Peer

    def __init__(self, server: ServerState) -> None:
        self.server = server
        self.deadline = NEVER
        """When the tick calls ``expire``, by the coarse clock."""
        self.phase = NEW
        self.close_requested = False
        """The connection ends with the last response that is due."""
        self.flow = FlowControl(server.loop, server.clock)
        self._read_pauses = 0

    # A client that reads slowly.

    def pause_writing(self) -> None:
        """Wait for the client to read; asyncio calls this when the write buffer is full."""
        self.flow.pause()
        if self.phase != CLOSING:
            self.phase, self.deadline = SENDING, self.flow.watch()
            self._mark_active()

    def resume_writing(self) -> None:
        """Go on with what waited for the client; asyncio calls this when the buffer drained."""
        self.flow.resume()
        if self.phase == SENDING:
            self.phase, self.deadline = PROCESSING, NEVER
            self._on_writable()

    def _mark_active(self) -> None:
        """Have each tick check this connection."""
        raise NotImplementedError

    def _on_writable(self) -> None:
        """Go on with what waited for the client to read."""
        raise NotImplementedError

    # The client's part of the exchange.

    @property
    def is_idle(self) -> bool:
        """Return whether the connection waits for the next request of its client."""
        return self.phase == IDLE

    @property
    def awaits_request(self) -> bool:
        """Return whether the client has yet to send a part of a request, or all of it."""
        return self.phase in (NEW, READING_HEAD, READING_BODY)

    @property
    def awaits_reader(self) -> bool:
        """Return whether a response waits for the client to read."""
        return self.phase == SENDING

    # Reading.

    def pause_reading(self) -> None:
        """Stop reading from the client. Pauses add up: each needs its ``resume_reading``."""
        self._read_pauses += 1
        if self._read_pauses == 1 and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Undo one pause."""
        self._read_pauses -= 1
        if self._read_pauses == 0 and not self.transport.is_closing():
            self.transport.resume_reading()

    def refuse(self, error: ClientError) -> None:
        """Answer ``error`` when all earlier requests are answered, then close."""
        raise NotImplementedError

    # The end.

    def close_after_response(self) -> None:
        """Close after the next response, whenever it comes."""
        self.close_requested = True

    def drain(self) -> None:
        """Close soon, because the worker drains.

        A connection with a request closes after its response. An idle one closes ``linger`` seconds
        after its last sign of life, or after one more request.
        """
        limits = self.server.limits
        self.close_requested = True
        # The deadline was set at the last sign of life, so it tells when that was.
        if self.phase == IDLE:
            quiet_since = self.deadline - limits.keepalive
        elif self.phase == NEW:
            quiet_since = self.deadline - limits.header_timeout
        else:
            return
        self.deadline = min(self.deadline, quiet_since + limits.linger)

    def _close(self, lingering: bool) -> None:
        """Close when all that was written is sent.

        ``lingering``: the client may still be sending, so what it sends is discarded for a moment.
        """
        clock, transport = self.server.clock, self.transport
        self._mark_active()
        self.phase = CLOSING
        self.flow.end()
        self.flow.give_up_at = self.deadline = clock.send_deadline
        if lingering or self.peer.tls is not None or transport.get_write_buffer_size():
            self.flow.watch()
            self.deadline = clock.now + (LINGERING_TIME if lingering else 0)
        if lingering and transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()
            # A paused transport would never report the client's end.
            if self._read_pauses:
                self._read_pauses = 0
                transport.resume_reading()
        else:
            transport.close()

    def abort(self) -> None:
        """Reset the connection: the client must not take what it got for a complete response."""
        self.phase, self.deadline = CLOSING, NEVER
        self.flow.end()
        reset(self.transport)

    def expire(self) -> None:
        """Act on the deadline, which has passed, as the table of phases says."""
        if self.phase == CLOSING:
            self._expire_closing()
        elif self.phase == SENDING:
            self._expire_sending()
        elif self.phase in (NEW, IDLE):
            self._expire_idle()
        elif self.phase == READING_BODY and self._read_pauses:
            self.deadline = self.server.clock.body_deadline  # the app, not the client, is slow
        elif self.phase in (READING_HEAD, READING_BODY):
            self.refuse(ClientError(408, "the request took too long to arrive"))

    def _expire_sending(self) -> None:
        if self.flow.is_stalled():
            self.abort()
        else:
            self.deadline = self.flow.next_check()

    def _expire_idle(self) -> None:
        if has_unread_data(self.transport):
            # The client has sent a request that the worker had no time to read.
            self.deadline = self.server.clock.now + TICK_PERIOD
        else:
            self._close(lingering=False)

    def _expire_closing(self) -> None:
        """End a closing connection once its client has everything; called in each tick.

        asyncio would wait for a TLS client's close_notify instead.
        """
        if is_all_delivered(self.transport):
            self.transport.abort()
        elif self.flow.is_stalled():
            self.abort()
