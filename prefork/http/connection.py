"""One client: its parser, its pipeline of requests, and its one deadline.

Bytes go into httptools (llhttp), whose callbacks build an Exchange. Requests are answered one at a
time and in order; while one waits behind another, reading stops. What is refused, judge.py
decides; how, is decided here. After a refusal nothing more is read
from the client: the answer is sent, the connection half-closed, and the rest discarded for a
moment, because closing with unread bytes would reset the connection and destroy the answer
(RFC 9112 section 9.6).

    phase    waits for                          when the deadline passes
    HEAD     the rest of a request's head       408 and close (nothing sent at all: close)
    BODY     more of a request's body           408 and close
    BUSY     the app                            never; the service has the request's deadline
    IDLE     the next request                   close
    SEND     the client to read its response    abort
    CLOSING  the client to close                abort
"""

import asyncio
import math
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import httptools

from prefork.errors import ClientError
from prefork.http import head
from prefork.http.body import SpooledBody, StreamedBody
from prefork.http.exchange import Exchange
from prefork.http.judge import SLASH, blame, judge

if TYPE_CHECKING:
    from prefork.http.service import Service

LINGERING = 2.0
"""Seconds that a half-closed client may still send before it is cut off."""

_SPECIAL = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})
_METHODS: dict[bytes, str] = {}
_NAMES: dict[bytes, bytes] = {}
"""Harmless field names as sent, and in small letters: one object a name, so that its hash is
computed once. Bounded, for clients that invent names."""
_MOST_NAMES = 1024
_NEVER = math.inf
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: close sends RST."""


HEAD, BODY, BUSY, IDLE, SEND, CLOSING = range(6)
"""Phases, see the table above. Plain numbers: an enum's member costs a lookup at each request."""


class Connection(asyncio.Protocol):
    """The asyncio protocol of one accepted connection."""

    __slots__ = (
        "_body_size",
        "_coding",
        "_expect",
        "_half_closed",
        "_headers",
        "_hosts",
        "_incoming",
        "_length",
        "_parser",
        "_pauses",
        "_refusal",
        "_size",
        "_special",
        "_target",
        "_unsent",
        "_waiting",
        "_writers",
        "client",
        "current",
        "deadline",
        "phase",
        "server",
        "service",
        "shared",
        "transport",
        "writable",
    )

    transport: asyncio.Transport

    def __init__(self, service: "Service") -> None:
        self.service = service
        self.deadline = service.head_deadline
        self.phase = HEAD
        self.current: Exchange | None = None
        """The request that is being answered."""
        self.client: tuple[str, int] | None = None
        self.server: tuple[str, int | None] | None = None
        self.writable = True
        self.shared: dict[str, Any] | None = None
        """Whatever the handler keeps for all requests of this client."""
        self._waiting: deque[Exchange] = deque()
        self._incoming: Exchange | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._target = b""
        self._hosts = 0
        self._special = False
        """The request has fields besides Host that _judge must look at."""
        self._length: int | None = None
        self._coding: bytes | None = None
        self._expect: bytes | None = None
        self._size = 0
        self._body_size = 0
        self._refusal: ClientError | None = None
        self._pauses = 0
        self._half_closed = False
        self._unsent = _NEVER
        self._writers: list[asyncio.Future[None]] = []
        self._parser = httptools.HttpRequestParser(self)

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the transport is ready."""
        self.transport = cast(asyncio.Transport, transport)
        self.client = _address(transport.get_extra_info("peername"))
        self.server = _address(transport.get_extra_info("sockname"))
        self.service.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        if self.phase == CLOSING or self._refusal is not None:
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # No protocol of ours to upgrade to: answer as if it had not been asked (RFC 9110 7.8).
            self.data_received(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self._refuse(blame(error))
            return
        if self._size:
            self._arrived_in_part()

    def eof_received(self) -> bool:
        """asyncio: the client sent its last byte; True keeps the other direction open.

        A half-closed client still gets what it asked for. An app that streams rather wants to
        know that nobody listens any more, which is what this mostly means.
        """
        if self.service.handler.streams or self._incoming is not None or self.current is None:
            return False
        self._half_closed = True
        return self.phase != CLOSING

    def connection_lost(self, _error: Exception | None) -> None:
        """asyncio: the connection is gone, whoever ended it."""
        self.service.connections.discard(self)
        self.phase, self.deadline = CLOSING, _NEVER
        for exchange in (self.current, self._incoming, *self._waiting):
            if exchange is not None and not exchange.gone:
                exchange.gone = True
                if exchange.body is not None:
                    exchange.body.lose()
        if self.current is not None:
            self.service.handler.lost(self.current)
            self.current = None
            self.service.requests += 1
        self._wake_writers()
        self._waiting.clear()
        self._incoming = None
        del self._parser  # it and we refer to each other
        self.service.check_empty()

    def pause_writing(self) -> None:
        """asyncio: the client reads slower than the app writes."""
        self.writable = False
        if self.phase != CLOSING:
            self.phase, self.deadline = SEND, self.service.send_deadline
            self._unsent = _NEVER

    def resume_writing(self) -> None:
        """asyncio: the client caught up."""
        self.writable = True
        if self.phase == SEND:
            self.phase, self.deadline = BUSY, _NEVER
            if self.current is None:
                self._idle()
        self._wake_writers()

    def blocked(self) -> "asyncio.Future[None] | None":
        """None: write on. Else it is done when the client has caught up, or is gone."""
        if self.writable or self.phase == CLOSING:
            return None
        waiter = self.service.loop.create_future()
        self._writers.append(waiter)
        return waiter

    def _wake_writers(self) -> None:
        waiters, self._writers = self._writers, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # From the parser.

    def on_url(self, piece: bytes) -> None:
        """httptools: the request target, perhaps in pieces."""
        self._target = self._target + piece if self._target else piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: one header field, or a trailer field after the body."""
        value = value.rstrip(b" \t")
        lower = _NAMES.get(name)
        if lower is None:
            lower = self._note(name.lower(), value)
            if lower not in _SPECIAL and len(_NAMES) < _MOST_NAMES:
                _NAMES[name] = lower
        self._headers.append((lower, value))

    def _note(self, name: bytes, value: bytes) -> bytes:
        """Look at a field whose name is not known to be harmless; its name."""
        if name == b"host":
            self._hosts += 1
            return name
        if name not in _SPECIAL:
            return name
        self._special = True
        if name == b"content-length":
            self._length = int(value)
        elif name == b"transfer-encoding":
            self._coding = value.lower() if self._coding is None else b"several"
        else:
            self._expect = value.lower()
        return name

    def on_headers_complete(self) -> None:
        """httptools: the head is there. Judge it; an app that streams is called now."""
        parser = self._parser
        service = self.service
        headers, target = self._headers, self._target
        exchange = Exchange(self, headers, target)
        method = parser.get_method()
        exchange.method = _METHODS.get(method) or _METHODS.setdefault(method, method.decode())
        version = parser.get_http_version()
        if version != "1.1":
            exchange.version = version
        # One line for the request that is like nearly all; everything else is judged in detail.
        if (
            self._hosts != 1
            or self._special
            or version != "1.1"
            or target[0] != SLASH
            or self._size > service.small
            or len(headers) > service.limits.headers
        ):
            judge(exchange, self._hosts, self._length, self._coding, self._expect, service.limits)
        if b"?" in target:
            exchange.path, _, exchange.query = exchange.path.partition(b"?")
        if not service.keeps_alive or not parser.should_keep_alive():
            exchange.keep_alive = False
        self._headers = []  # trailer fields go here and are forgotten
        self._target = b""
        self._incoming = exchange
        if self._length or self._coding is not None:
            self._begin_body(exchange)

    def _begin_body(self, exchange: Exchange) -> None:
        exchange.expects = self._expect is not None and exchange.version == "1.1"
        self._body_size = 0
        if self.service.handler.streams:
            exchange.body = StreamedBody(_Source(self, exchange))
            if self.current is None and not self._waiting:
                self._begin(exchange)
            else:
                self._queue(exchange)
        else:
            exchange.body = SpooledBody()
            if self.current is None:
                self.invite(exchange)

    def on_body(self, data: bytes) -> None:
        """httptools: a piece of the body, without its chunk framing."""
        exchange = self._incoming
        if exchange is None or exchange.body is None or exchange.ended:
            return
        self._body_size += len(data)
        limit = self.service.limits.body
        if limit is not None and self._body_size > limit:
            raise ClientError(413, "the request body is too large")
        exchange.expects = False
        exchange.began = self.service.now
        exchange.body.feed(data)

    def on_message_complete(self) -> None:
        """httptools: the request is whole."""
        exchange = self._incoming
        if exchange is None:
            return
        self._incoming = None
        self._size = self._hosts = 0
        if self._headers:
            self._headers = []
        if self._special:
            self._special = False
            self._length = self._coding = self._expect = None
        exchange.complete = True
        body = exchange.body
        if body is not None:
            if exchange.ended or exchange.gone:
                return
            body.end()
            if self.phase == BODY:
                self.phase, self.deadline = BUSY, _NEVER
            if self.service.handler.streams:
                return
        if self.current is None and not self._waiting:
            self._begin(exchange)
        else:
            self._queue(exchange)

    # The pipeline.

    def _queue(self, exchange: Exchange) -> None:
        """Keep it until its predecessors are answered, and read no further."""
        self._waiting.append(exchange)
        if len(self._waiting) == 1:
            self.pause()

    def _begin(self, exchange: Exchange) -> None:
        service = self.service
        self.current = exchange
        exchange.began = service.now
        self.phase = BUSY
        self.deadline = _NEVER
        service.handler.handle(exchange)

    def ended(self, exchange: Exchange) -> None:
        """The exchange was answered; go on with the next request, or close."""
        if exchange is not self.current:
            return
        service = self.service
        if service.log_access is not None:
            service.log_access(exchange)
        self.current = None
        service.requests += 1
        if service.requests == service.worn_at:
            service.on_worn()
        if not exchange.keep_alive:
            self._close(gently=not exchange.complete)
        elif self._waiting:
            service.loop.call_soon(self._next)
        elif self._refusal is not None:
            self._answer_refusal()
        elif self.writable:
            self._idle()

    def _idle(self) -> None:
        service = self.service
        self.phase = IDLE
        self.deadline = service.idle_deadline
        if service.draining:
            self.hurry()
        if self._incoming is not None:
            self.invite(self._incoming)

    def _next(self) -> None:
        if self._waiting and self.current is None and self.phase != CLOSING:
            exchange = self._waiting.popleft()
            if not self._waiting:
                self.resume()
            self._begin(exchange)

    def ends(self) -> bool:
        """Whether the connection is to end with the answer that is being made."""
        return (self.service.draining or self._half_closed) and not self._waiting

    # Reading, refusing, closing.

    def pause(self) -> None:
        """Stop reading; pauses add up."""
        self._pauses += 1
        if self._pauses == 1 and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        """Undo one pause."""
        self._pauses -= 1
        if self._pauses == 0 and not self.transport.is_closing():
            self.transport.resume_reading()

    def invite(self, exchange: Exchange) -> None:
        """Send 100 Continue if this request's client waits for it and no answer has begun."""
        if exchange.expects and not exchange.status and exchange is (self.current or exchange):
            exchange.expects = False
            self.transport.write(head.CONTINUE)

    def _arrived_in_part(self) -> None:
        """A request is under way but not whole."""
        service = self.service
        if self._incoming is None:
            if len(self._target) > service.limits.line:
                self._refuse(ClientError(414, "the request target is too long"))
            elif self._size > service.limits.header_size + service.limits.line:
                self._refuse(ClientError(431, "the request head is too large"))
            elif self.current is None and self.phase != HEAD:
                self.phase, self.deadline = HEAD, service.head_deadline
        elif self.phase != SEND:
            self.phase, self.deadline = BODY, service.body_deadline

    def _refuse(self, error: ClientError) -> None:
        """Answer ``error`` once all earlier requests are answered, then close."""
        self._refusal = error
        broken = self._incoming
        if broken is not None and broken is self.current:
            self._cut_short(broken)
        elif self.current is None and not self._waiting:
            self._answer_refusal()

    def _cut_short(self, exchange: Exchange) -> None:
        """The body of the request that the app is reading is broken: the app sees a disconnect."""
        if exchange.body is not None:
            exchange.body.lose()
        if not exchange.out:
            self._answer_refusal()
        else:
            self.abort()

    def _answer_refusal(self) -> None:
        error = self._refusal
        assert error is not None
        if self.current is None:
            self.current = Exchange(self, [], self._target)
        exchange = self.current
        exchange.keep_alive = exchange.complete = False
        exchange.page(error.status, str(error))
        exchange.gone = True  # whatever the app still sends has nowhere to go

    def _close(self, gently: bool) -> None:
        """Close after what was written is sent; ``gently``: the client may still be sending."""
        self.phase = CLOSING
        if gently and self.transport.can_write_eof() and not self.transport.is_closing():
            self.deadline = self.service.now + LINGERING
            self.transport.write_eof()
            if self._pauses:
                self._pauses = 0
                self.transport.resume_reading()
        else:
            self.deadline = self.service.send_deadline
            self.transport.close()

    def abort(self) -> None:
        """Reset the connection: the client must not take what it got for a whole response."""
        self.phase, self.deadline = CLOSING, _NEVER
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def hurry(self) -> None:
        """The worker drains: an idle connection gets ``linger`` since its last sign of life."""
        limits = self.service.limits
        if self.phase == IDLE:
            quiet_since = self.deadline - limits.keepalive
        elif self.phase == HEAD and self._size == 0:
            quiet_since = self.deadline - limits.header_timeout
        else:
            return
        self.deadline = min(self.deadline, quiet_since + limits.linger)

    def expire(self) -> None:
        """The deadline passed: act as the table says."""
        if self.phase in (SEND, CLOSING):
            self._expire_writing()
        elif self.phase == IDLE or (self.phase == HEAD and self._size == 0):
            self._close(gently=False)
        elif self.phase in (HEAD, BODY):
            self._refuse(ClientError(408, "the request took too long to arrive"))

    def _expire_writing(self) -> None:
        """A slow reader may be slow as long as it reads at all."""
        unsent = self.transport.get_write_buffer_size()
        if 0 < unsent < self._unsent:
            self._unsent, self.deadline = unsent, self.service.send_deadline
        else:
            self.abort()


class _Source:
    """A streamed body's view of its connection."""

    __slots__ = ("_connection", "_exchange", "pause", "resume")

    def __init__(self, connection: Connection, exchange: Exchange) -> None:
        self._connection = connection
        self._exchange = exchange
        self.pause = connection.pause
        self.resume = connection.resume

    def invite(self) -> None:
        self._connection.invite(self._exchange)


def _address(name: object) -> tuple[str, int] | None:
    """``(host, port)`` of an IP peer; None on a unix socket."""
    return (name[0], name[1]) if isinstance(name, tuple) else None
