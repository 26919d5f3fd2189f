"""One open WebSocket (RFC 6455): messages in both directions, pings, flow control, closing.

It knows messages, not app interfaces. Frames are parsed and composed by the sans-I/O layer of the
``websockets`` library; this module adds the transport, UTF-8, fragmented messages, and time.

    phase    waits for                           when the deadline passes
    OPEN     the next ping, or a sign of life    ping; close with 1011 when there was none
    SEND     the client to take some bytes       abort
    CLOSING  the client's close and disconnect   abort

Flow control works in both directions. A message waits in ``inbox`` until the app takes it; while
the inbox is full, prefork neither parses nor reads more. An app that sends waits while the client
reads slowly.

Design
------
- **Frames are left to websockets (sans-I/O).** The master imports it unless the interface is known
  to be another: 16 ms once, and 1.7 MB that all workers share. prefork is stricter than the
  library in two points: text is checked fragment by fragment (1007 before the message is
  complete), and a close between two fragments is answered like any other instead of with 1002. It
  is as lenient as the library in two others: a frame is checked when all of it has arrived, and a
  length may take more bytes than it needs. Versions before 17.1 are more lenient with compression.
- **No task, timer or queue of its own.** Besides the app's task a WebSocket has one deadline, which
  the worker's clock checks; pings, closing and slow readers use it.
- **Any byte after a ping is a sign of life.** A client in the middle of a long message cannot send
  a pong. While the app is behind and nothing is read, silence proves nothing.
- **Received bytes are parsed in pieces of 8 KB,** and the inbox is checked in between: one read may
  hold tens of thousands of tiny messages, or hundreds of megabytes that were compressed well.
- **A draining worker closes with 1012 (Service Restart) if another worker takes over, with 1001
  (Going Away) if none does.** A worker cannot tell a reload from a stop, so the master writes it
  into the worker's scoreboard row before the signal.
"""

import asyncio
import codecs
import math
from collections import deque
from typing import TYPE_CHECKING, cast

from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from prefork.errors import ClientGoneError
from prefork.http.flow_control import FlowControl
from prefork.http.transport import is_all_delivered, reset

if TYPE_CHECKING:
    from prefork.http.exchange import SharedState

HIGH_WATER = 64 * 1024
"""Size of the messages in the inbox (bytes, or characters of text) from which reading stops."""

PARSE_SIZE = 8 * 1024
"""Bytes that are parsed before the inbox is checked again."""

GOING_AWAY, ABNORMAL, INVALID_TEXT, INTERNAL_ERROR, RESTART = 1001, 1006, 1007, 1011, 1012
"""Close codes (RFC 6455 section 7.4). 1006 is never sent; it stands for a missing close frame."""

CONT, TEXT = Opcode.CONT, Opcode.TEXT
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG

OPEN, SEND, CLOSING = range(3)
"""The phases of the table above."""

_NEVER = math.inf
_Utf8 = codecs.getincrementaldecoder("utf-8")


class ServerFrameProtocol(ServerProtocol):
    """The server protocol of ``websockets``, corrected where the RFC differs."""

    def recv_frame(self, frame: Frame) -> None:
        """Process a frame. A close between two fragments is a normal close (RFC 6455 section 5.4);
        the library would answer it with 1002."""
        if frame.opcode is CLOSE:
            self.current_size = None
        super().recv_frame(frame)


class WebSocket(asyncio.Protocol):
    """The asyncio protocol of a connection from the 101 response on.

    Implements ``OpenConnection`` of server_state.py: the worker's clock calls ``expire`` when
    ``deadline`` has passed.
    """

    __slots__ = (
        "_answers_unread",
        "_close_by",
        "_dead_after",
        "_fragments",
        "_frames",
        "_has_received",
        "_inbox_size",
        "_is_closing_transport",
        "_limits",
        "_max_queue",
        "_next_ping_at",
        "_readers",
        "_reading_paused",
        "_unparsed",
        "_utf8",
        "closed",
        "deadline",
        "flow",
        "inbox",
        "phase",
        "server",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, server: "SharedState", frames: ServerProtocol) -> None:
        self.server = server
        self.inbox: deque[str | bytes] = deque()
        """Messages that the app has not taken; ``pop_message`` takes one."""
        self.closed: tuple[int, str] | None = None
        """Close code and reason, once a close was sent or received or the connection was lost."""
        self.flow = FlowControl(server.loop, server.clock)
        self.phase = OPEN
        self.deadline = _NEVER
        self._frames = frames
        self._limits = server.limits.websocket
        self._max_queue = self._limits.max_queue
        self._inbox_size = 0
        self._unparsed = bytearray()
        self._fragments = bytearray()
        """The fragments so far of an unfinished message."""
        self._utf8: codecs.IncrementalDecoder | None = None
        """Validates the fragments of a text; None for a binary message."""
        self._reading_paused = False
        self._answers_unread = False
        """Answers to frames were written while the client did not read. Nothing more is parsed
        until it reads: a client that sends pings only must not fill the memory with pongs."""
        self._has_received = True
        """Bytes arrived since the last ping."""
        self._next_ping_at = self._dead_after = _NEVER
        """The times of the next ping, and of the close if nothing arrives until then."""
        self._is_closing_transport = False
        """Both sides sent a close frame, and the transport is closing."""
        self._close_by = _NEVER
        """In CLOSING: the time by which the client must have finished the closing handshake."""
        self._readers: list[asyncio.Future[None]] = []

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the transport of the HTTP connection."""
        self.transport = self.flow.transport = cast(asyncio.Transport, transport)
        server = self.server
        if self._limits.ping_interval is not None:
            self._next_ping_at = self.deadline = server.clock.now + self._limits.ping_interval
        server.has_websockets = True
        server.add_connection(self)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        self._has_received = True
        if self._unparsed or len(data) > PARSE_SIZE:
            self._unparsed += data
            self._parse_buffered()
        else:
            self._parse(data)

    def eof_received(self) -> bool:
        """asyncio: the client sent its last byte. Close: WebSockets cannot be half-closed."""
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        """asyncio: the connection was closed, by either side."""
        self._set_closed(ABNORMAL, "")
        self.deadline = _NEVER
        self.server.connection_closed(self)

    def pause_writing(self) -> None:
        """asyncio: the client reads slower than the app sends."""
        self.flow.pause()
        if self.phase == OPEN:
            self.phase, self.deadline = SEND, self.flow.watch()

    def resume_writing(self) -> None:
        """asyncio: the client caught up."""
        self.flow.resume()
        if self.phase == SEND:
            self.phase, self.deadline = OPEN, self._next_ping_at
            # A ping may have waited behind the data that the client did not read.
            self._dead_after = _NEVER
        if self._answers_unread:
            self._answers_unread = False
            self._parse_buffered()

    @property
    def movable(self) -> None:
        """None: the state of the WebSocket is in the app of this worker."""
        return None

    def in_flight(self) -> tuple[()]:
        """Return nothing: a WebSocket has no request that the clock has to time out."""
        return ()

    def release_if_idle(self) -> bool:
        """Return False: pings have deadlines, so the clock checks a WebSocket with every tick."""
        return False

    # Messages in.

    def pop_message(self) -> str | bytes:
        """Remove the oldest message from the inbox and return it. Raises IndexError if it is empty.

        Reading continues if the inbox was full.
        """
        message = self.inbox.popleft()
        self._inbox_size -= len(message)
        if self._reading_paused:
            self._parse_buffered()
        return message

    def message_waiter(self) -> "asyncio.Future[None]":
        """Return a future that is done when a message arrived or the WebSocket is closed."""
        return _add_waiter(self.server.loop, self._readers)

    def _parse_buffered(self) -> None:
        """Parse what has arrived until the inbox is full, then pause or resume reading."""
        unparsed = self._unparsed
        while unparsed and not self._is_full():
            piece = unparsed[:PARSE_SIZE]
            del unparsed[:PARSE_SIZE]
            self._parse(piece)
        self._update_reading()

    def _parse(self, data: bytes | bytearray) -> None:
        """Parse bytes of the client, deliver their messages, and send the library's answers."""
        frames = self._frames
        frames.receive_data(data)
        for frame in frames.events_received():
            if self.closed is not None:
                break  # after our close only the client's close frame matters
            try:
                # Most messages are one frame of text, so this case comes first.
                if frame.opcode is TEXT and frame.fin:  # type: ignore[union-attr]
                    self._deliver(str(frame.data, "utf-8"))  # type: ignore[union-attr]
                else:
                    self._process_frame(cast(Frame, frame))
            except UnicodeDecodeError as error:
                self._fail(INVALID_TEXT, f"{error.reason} at byte {error.start}")
        if writes := frames.data_to_send():
            self._write(writes)
            sent = frames.close_sent
            if sent is not None and self.closed is None:
                self._set_closed(sent.code, sent.reason)
            self._answers_unread = not self.flow.is_writable
            self._update_reading()

    def _process_frame(self, frame: Frame) -> None:
        """Process a frame that is not a complete text message."""
        opcode = frame.opcode
        if opcode is PING or opcode is PONG or opcode is CLOSE:
            return  # the library composes the answer
        if opcode is not CONT:
            if frame.fin:
                self._deliver(bytes(frame.data))
                return
            self._utf8 = _Utf8() if opcode is TEXT else None
        self._fragments += frame.data
        if self._utf8 is not None:
            self._utf8.decode(bytes(frame.data), frame.fin)
        if frame.fin:
            fragments, self._fragments = self._fragments, bytearray()
            self._deliver(bytes(fragments) if self._utf8 is None else str(fragments, "utf-8"))

    def _deliver(self, message: str | bytes) -> None:
        self.inbox.append(message)
        self._inbox_size += len(message)
        if self._readers:
            _wake_all(self._readers)
        if len(self.inbox) >= self._max_queue or self._inbox_size >= HIGH_WATER:
            self._update_reading()

    def _is_full(self) -> bool:
        """Return whether to stop parsing and reading. Once stopped, half as much keeps it so."""
        if self.phase == CLOSING:
            return self._answers_unread
        # A margin, so that reading is not paused and resumed with every message.
        factor = 2 if self._reading_paused else 1
        return (
            len(self.inbox) * factor >= self._max_queue
            or self._inbox_size * factor >= HIGH_WATER
            or self._answers_unread
        )

    def _update_reading(self) -> None:
        full = self._is_full()
        if full is not self._reading_paused and not self.transport.is_closing():
            self._reading_paused = full
            if full:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # Messages out.

    def send_text(self, text: str) -> None:
        """Send a text message. Raises ClientGoneError after a close or a disconnect."""
        data = text.encode()
        if self.closed is not None or self.transport.is_closing():
            raise _closed_error()
        self._frames.send_text(data)
        self._write(self._frames.data_to_send())

    def send_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """Send a binary message. Raises ClientGoneError after a close or a disconnect."""
        if self.closed is not None or self.transport.is_closing():
            raise _closed_error()
        self._frames.send_binary(data)
        self._write(self._frames.data_to_send())

    def _write(self, writes: list[bytes]) -> None:
        """Write what the library composed; empty bytes at the end mean that nothing follows."""
        transport = self.transport
        data = writes[0] if len(writes) == 1 else b"".join(writes)
        if data:
            transport.write(data)
        if not writes[-1] and not transport.is_closing():
            # Closing with unread bytes would reset the connection and destroy what was just
            # written. After the client's close frame there are none.
            if self._frames.close_rcvd is not None:
                self._is_closing_transport = True
                self.deadline = self.server.clock.now
                transport.close()
            elif transport.can_write_eof():
                transport.write_eof()
            else:
                transport.close()

    # Time and the end.

    def expire(self) -> None:
        """Act on the passed deadline, as the table of phases says."""
        if self.phase == OPEN:
            self._check_ping()
        elif self.phase == SEND:
            if self.flow.is_stalled():
                reset(self.transport)
            self.deadline = self.flow.next_check()
        elif self._is_closing_transport and is_all_delivered(self.transport):
            self.transport.abort()
        elif self.server.clock.now >= self._close_by:
            reset(self.transport)

    def _check_ping(self) -> None:
        """Send the next ping, or close with 1011 when nothing arrived since the last one."""
        now = self.server.clock.now
        interval, timeout = self._limits.ping_interval, self._limits.ping_timeout
        if self._has_received or self._reading_paused:
            self._dead_after = _NEVER  # while reading is paused, silence proves nothing
        if self._dead_after <= now:
            self._fail(INTERNAL_ERROR, "no sign of life after a ping")
            return
        if self._next_ping_at <= now:
            self._next_ping_at = now + (interval or _NEVER)
            if self._dead_after == _NEVER:
                self._has_received = False
                self._dead_after = now + (timeout or _NEVER)
            self._frames.send_ping(b"")
            self._write(self._frames.data_to_send())
        if self.phase == OPEN:
            self.deadline = min(self._next_ping_at, self._dead_after)

    def close_after_response(self) -> None:
        """Do nothing: a WebSocket has had its response, and goes on until the drain."""

    def drain(self) -> None:
        """Close because the worker drains: with 1012 if another worker takes over, else 1001."""
        self.close(GOING_AWAY if self.server.has_no_successor else RESTART, "")

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, unless either side has sent one.

        Raises ``websockets.exceptions.ProtocolError`` when a close frame cannot have this code and
        reason.
        """
        if self.closed is None:
            self._frames.send_close(code, reason)
            self._write(self._frames.data_to_send())
            self._set_closed(code, reason)
            self._parse_buffered()

    def _fail(self, code: int, reason: str) -> None:
        """Fail the connection because of an error (RFC 6455 section 7.1.7)."""
        self._frames.fail(code, reason)
        self._write(self._frames.data_to_send())
        self._set_closed(code, reason)

    def _set_closed(self, code: int, reason: str) -> None:
        """Record the close and wake all waiters. Messages in the inbox stay available."""
        if self.closed is None:
            self.closed = code, reason
            self.phase = CLOSING
            self._close_by = self.server.clock.now + self._limits.close_timeout
            # With TLS, transport.close() waits for the client's close_notify, which few send. So
            # every tick checks whether the client has received everything.
            self.deadline = self.server.clock.now if self._is_closing_transport else self._close_by
            self._fragments = bytearray()
        _wake_all(self._readers)
        self.flow.end()
        self.flow.wake_writers()


def _closed_error() -> ClientGoneError:
    # Also raised while the transport is closing: it drops what it gets, without an error.
    return ClientGoneError("the WebSocket is closed")


def _add_waiter(
    loop: asyncio.AbstractEventLoop, waiters: "list[asyncio.Future[None]]"
) -> "asyncio.Future[None]":
    """Add a new future to ``waiters`` and return it; finished ones are removed."""
    if waiters:
        waiters[:] = [waiter for waiter in waiters if not waiter.done()]
    waiter = loop.create_future()
    waiters.append(waiter)
    return waiter


def _wake_all(waiters: "list[asyncio.Future[None]]") -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()
