"""One open WebSocket (RFC 6455): messages in and out, pings, back-pressure, closing.

Knows messages, not app interfaces. The rules of the protocol are those of the sans-I/O layer of
``websockets``; here is what it leaves to its user: the transport, text, messages of several frames,
and time.

    phase    waits for                           when the deadline passes
    OPEN     the next ping, or a sign of life    ping; close with 1011 when there was none
    SEND     the client to take some bytes       abort
    CLOSING  the client's part of the closing    abort

Back-pressure goes both ways. A message waits in ``inbox`` until the app takes it; while much waits
there, nothing more is parsed or read. An app that sends waits while the client is slow.
"""

import asyncio
import codecs
import math
from collections import deque
from typing import TYPE_CHECKING, cast

from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from prefork.errors import ClientGoneError
from prefork.http.transport import delivery_progress, is_all_delivered, reset

if TYPE_CHECKING:
    from prefork.http.exchange import Exchange, SharedState

HIGH_WATER = 64 * 1024
"""Size of the messages that may wait for the app before reading stops, however few they are."""

BITE = 8 * 1024
"""Bytes that are parsed at once. What one read brings could be tens of thousands of tiny messages,
or hundreds of megabytes that were compressed well; so the inbox is looked at in between."""

GOING_AWAY, ABNORMAL, INVALID_TEXT, INTERNAL_ERROR, RESTART = 1001, 1006, 1007, 1011, 1012
"""Close codes (RFC 6455 section 7.4); 1006 is in no frame, it means that there was none."""

CONT, TEXT = Opcode.CONT, Opcode.TEXT
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG

OPEN, SEND, CLOSING = range(3)
"""Phases, see the table above."""

_NEVER = math.inf
_Utf8 = codecs.getincrementaldecoder("utf-8")


class ServerFrameProtocol(ServerProtocol):
    """The server's side of ``websockets``, a little nearer to the RFC."""

    def recv_frame(self, frame: Frame) -> None:
        """A close between two fragments is a close like any other (RFC 6455 section 5.4); the
        library would answer with 1002."""
        if frame.opcode is CLOSE:
            self.current_size = None
        super().recv_frame(frame)


class WebSocket(asyncio.Protocol):
    """The asyncio protocol of a connection, from the 101 on."""

    __slots__ = (
        "_dead_at",
        "_flooded",
        "_frames",
        "_heard",
        "_held",
        "_limits",
        "_max_queue",
        "_next_ping",
        "_parting",
        "_patience",
        "_paused",
        "_pieces",
        "_readers",
        "_taken",
        "_unparsed",
        "_utf8",
        "_writers",
        "closed",
        "deadline",
        "inbox",
        "is_writable",
        "phase",
        "server",
        "transport",
    )

    transport: asyncio.Transport
    current: "Exchange | None" = None
    """What the service asks every connection: there is no request that could be overdue."""

    def __init__(self, service: "SharedState", frames: ServerProtocol) -> None:
        self.server = service
        self.inbox: deque[str | bytes] = deque()
        """Messages that the app has not taken; ``take`` does."""
        self.closed: tuple[int, str] | None = None
        """Code and reason, once a close was sent or received, or the connection is gone."""
        self.is_writable = True
        self.phase = OPEN
        self.deadline = _NEVER
        self._frames = frames
        self._limits = service.limits.websocket
        self._max_queue = self._limits.max_queue
        self._held = 0
        self._unparsed = bytearray()
        self._pieces = bytearray()
        """The fragments so far of the message that is arriving."""
        self._utf8: codecs.IncrementalDecoder | None = None
        """Judges them if they are text."""
        self._paused = False
        self._flooded = False
        """The client wants more pongs than it reads."""
        self._heard = True
        """There was a sign of life since the last ping."""
        self._next_ping = self._dead_at = _NEVER
        self._taken = 0
        self._parting = False
        """Both have said their close, and so has the transport."""
        self._patience = _NEVER
        """While sending or closing: until when the client must have taken something or let go."""
        self._readers: list[asyncio.Future[None]] = []
        self._writers: list[asyncio.Future[None]] = []

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport changes hands."""
        self.transport = cast(asyncio.Transport, transport)
        service = self.server
        if self._limits.ping_interval is not None:
            self._next_ping = self.deadline = service.clock.now + self._limits.ping_interval
        service.has_websockets = True
        service.add_connection(self)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        self._heard = True
        if self._unparsed or len(data) > BITE:
            self._unparsed += data
            self._parse_on()
        else:
            self._parse(data)

    def eof_received(self) -> bool:
        """asyncio: the client sent its last byte; there is no such thing as half a WebSocket."""
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        """asyncio: the connection is gone, whoever ended it."""
        self._end(ABNORMAL, "")
        self.deadline = _NEVER
        self.server.connection_closed(self)

    def pause_writing(self) -> None:
        """asyncio: the client reads slower than we write."""
        self.is_writable = False
        if self.phase == OPEN:
            self.phase, self.deadline = SEND, self.server.clock.next_send_check
            self._patience, self._taken = (
                self.server.clock.send_deadline,
                delivery_progress(self.transport),
            )

    def resume_writing(self) -> None:
        """asyncio: the client caught up."""
        self.is_writable = True
        if self.phase == SEND:
            self.phase, self.deadline = OPEN, self._next_ping
            self._dead_at = _NEVER  # our ping may have been behind all that it did not read
        _wake(self._writers)
        if self._flooded:
            self._flooded = False
            self._parse_on()

    def release_if_idle(self) -> bool:
        """Never: its pings and their answers have deadlines."""
        return False

    # Messages in.

    def pop_message(self) -> str | bytes:
        """The oldest message of the inbox."""
        message = self.inbox.popleft()
        self._held -= len(message)
        if self._paused:
            self._parse_on()
        return message

    def message_waiter(self) -> "asyncio.Future[None]":
        """Done when there is a message, or an end."""
        return _waiter(self.server.loop, self._readers)

    def _parse_on(self) -> None:
        """Parse what has arrived while the app keeps up, then read on or not."""
        unparsed = self._unparsed
        while unparsed and not self._full():
            bite = unparsed[:BITE]
            del unparsed[:BITE]
            self._parse(bite)
        self._regulate()

    def _parse(self, data: bytes | bytearray) -> None:
        frames = self._frames
        frames.receive_data(data)
        for frame in frames.events_received():
            if self.closed is not None:
                break  # who closes hears nothing but the other's close
            try:
                if frame.opcode is TEXT and frame.fin:  # type: ignore[union-attr]
                    self._deliver(str(frame.data, "utf-8"))  # type: ignore[union-attr]
                else:
                    self._take_in(cast(Frame, frame))
            except UnicodeDecodeError as error:
                self._fail(INVALID_TEXT, f"{error.reason} at byte {error.start}")
        if writes := frames.data_to_send():
            self._write(writes)
            sent = frames.close_sent
            if sent is not None and self.closed is None:
                self._end(sent.code, sent.reason)
            self._flooded = not self.is_writable
            self._regulate()

    def _take_in(self, frame: Frame) -> None:
        """A frame that is no whole text."""
        opcode = frame.opcode
        if opcode is PING or opcode is PONG or opcode is CLOSE:
            return  # the library answers
        if opcode is not CONT:
            if frame.fin:
                self._deliver(bytes(frame.data))
                return
            self._utf8 = _Utf8() if opcode is TEXT else None
        self._pieces += frame.data
        if self._utf8 is not None:
            self._utf8.decode(bytes(frame.data), frame.fin)
        if frame.fin:
            pieces, self._pieces = self._pieces, bytearray()
            self._deliver(bytes(pieces) if self._utf8 is None else str(pieces, "utf-8"))

    def _deliver(self, message: str | bytes) -> None:
        self.inbox.append(message)
        self._held += len(message)
        if self._readers:
            _wake(self._readers)
        if len(self.inbox) >= self._max_queue or self._held >= HIGH_WATER:
            self._regulate()

    def _full(self) -> bool:
        """Whether to leave the client's bytes where they are. Half of that is enough to stay so."""
        if self.phase == CLOSING:
            return self._flooded
        factor = 2 if self._paused else 1
        return (
            len(self.inbox) * factor >= self._max_queue
            or self._held * factor >= HIGH_WATER
            or self._flooded
        )

    def _regulate(self) -> None:
        full = self._full()
        if full is not self._paused and not self.transport.is_closing():
            self._paused = full
            if full:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # Messages out.

    def send_text(self, text: str) -> None:
        """One message. Raises ClientGoneError."""
        data = text.encode()
        if self.closed is not None or self.transport.is_closing():
            raise _gone()
        self._frames.send_text(data)
        self._write(self._frames.data_to_send())

    def send_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """One message. Raises ClientGoneError."""
        if self.closed is not None or self.transport.is_closing():
            raise _gone()
        self._frames.send_binary(data)
        self._write(self._frames.data_to_send())

    def writable_waiter(self) -> "asyncio.Future[None] | None":
        """None: send on. Else it is done when the client has caught up, or is gone."""
        if self.is_writable or self.closed is not None:
            return None
        return _waiter(self.server.loop, self._writers)

    def _write(self, writes: list[bytes]) -> None:
        """What the library wants sent; empty bytes at the end mean: and then no more."""
        transport = self.transport
        data = writes[0] if len(writes) == 1 else b"".join(writes)
        if data:
            transport.write(data)
        if not writes[-1] and not transport.is_closing():
            # To close with bytes unread would reset the connection and destroy what was just
            # written; but who sent a close sends nothing more.
            if self._frames.close_rcvd is not None:
                self._parting = True
                self.deadline = self.server.clock.now
                transport.close()
            elif transport.can_write_eof():
                transport.write_eof()
            else:
                transport.close()

    # Time and the end.

    def expire(self) -> None:
        """The deadline passed: act as the table says."""
        if self.phase == OPEN:
            self._check_pulse()
        elif self.phase == SEND:
            before, self._taken = self._taken, delivery_progress(self.transport)
            if self._taken > before:
                self._patience = self.server.clock.send_deadline
            elif self.server.clock.now >= self._patience:
                reset(self.transport)
            self.deadline = min(self.server.clock.next_send_check, self._patience)
        elif self._parting and is_all_delivered(self.transport):
            self.transport.abort()
        elif self.server.clock.now >= self._patience:
            reset(self.transport)

    def _check_pulse(self) -> None:
        """Ping, or give up: any byte since the last ping is a sign of life."""
        now = self.server.clock.now
        interval, patience = self._limits.ping_interval, self._limits.ping_timeout
        if self._heard or self._paused:  # while nothing is read nothing can be heard
            self._dead_at = _NEVER
        if self._dead_at <= now:
            self._fail(INTERNAL_ERROR, "no sign of life after a ping")
            return
        if self._next_ping <= now:
            self._next_ping = now + (interval or _NEVER)
            if self._dead_at == _NEVER:
                self._heard = False
                self._dead_at = now + (patience or _NEVER)
            self._frames.send_ping(b"")
            self._write(self._frames.data_to_send())
        if self.phase == OPEN:
            self.deadline = min(self._next_ping, self._dead_at)

    def drain(self) -> None:
        """The worker drains."""
        self.close(GOING_AWAY if self.server.has_no_successor else RESTART, "")

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake, unless somebody has. Raises websockets' ProtocolError when
        no frame can carry this code and reason."""
        if self.closed is None:
            self._frames.send_close(code, reason)
            self._write(self._frames.data_to_send())
            self._end(code, reason)
            self._parse_on()

    def _fail(self, code: int, reason: str) -> None:
        """Close without waiting for the client's consent (RFC 6455 section 7.1.7)."""
        self._frames.fail(code, reason)
        self._write(self._frames.data_to_send())
        self._end(code, reason)

    def _end(self, code: int, reason: str) -> None:
        """There is nothing more to say; what is in the inbox may still be taken."""
        if self.closed is None:
            self.closed = code, reason
            self.phase = CLOSING
            self._patience = self.server.clock.now + self._limits.close_timeout
            # TLS would wait for the client's farewell: see in every tick whether it has all.
            self.deadline = self.server.clock.now if self._parting else self._patience
            self._pieces = bytearray()
        _wake(self._readers)
        _wake(self._writers)


def _gone() -> ClientGoneError:
    # Also when the transport is closing: it drops what it is given, and nobody would find out.
    return ClientGoneError("the WebSocket is closed")


def _waiter(
    loop: asyncio.AbstractEventLoop, waiters: "list[asyncio.Future[None]]"
) -> "asyncio.Future[None]":
    """A new one in the list; those that were cancelled leave it."""
    if waiters:
        waiters[:] = [waiter for waiter in waiters if not waiter.done()]
    waiter = loop.create_future()
    waiters.append(waiter)
    return waiter


def _wake(waiters: "list[asyncio.Future[None]]") -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()
