"""Makes requests of bytes: the callbacks of llhttp for one connection.

The parser calls back for the target, each field, the end of the head, each piece of the body and
the end of the message. An app that streams gets its request when the head has arrived, any other
app when the whole request has. A request that is refused raises ClientError through the parser.

Design
------
- **Names with an underscore are dropped for every interface,** not only for WSGI, where ``X_A`` and
  ``X-A`` become the same variable: many ASGI frameworks do the same. A client could otherwise pose
  as a proxy that sends the other name. --underscores can refuse or allow them; nginx drops them,
  too (underscores_in_headers).
- **Chunk extensions with blanks around ``;`` and ``=`` are refused** (``5; a = b``). RFC 9110
  section 5.6.3 tells recipients to accept such blanks; llhttp in its strict mode does not, and has
  no switch for it. Clients send no extensions, and proxies that read them differently have been a
  way to smuggle requests (bare line feeds in extensions, 2025). Node refuses the same.
"""

from dataclasses import dataclass, field
from typing import Protocol

import httptools

from prefork.errors import ClientError
from prefork.http.body import StreamedBody
from prefork.http.buffer_pool import BufferPool
from prefork.http.clock import Clock
from prefork.http.exchange import ClientConnection, Exchange, ResponseSink
from prefork.http.forwarded import TrustedProxies, is_forwarding_field
from prefork.http.http1.body_progress import BodyProgress
from prefork.http.limits import Limits
from prefork.http.request import ParsedHead
from prefork.http.spool import SpooledBody
from prefork.http.spool_disk import SpoolDisk
from prefork.http.validation import (
    METHODS,
    SLASH,
    VALID_HOSTS,
    client_error_from,
    is_websocket_request,
    reject_method,
    validate_head,
    validate_host,
)

_INSPECTED_FIELDS = frozenset(
    {
        *(b"host", b"connection", b"proxy-connection"),
        *(b"content-length", b"transfer-encoding", b"expect"),
    }
)
"""Names of fields whose values decide about the framing of requests, or whether to accept them."""

_LOWERCASE_NAMES: dict[bytes, bytes] = {}
"""Names of other fields as sent, with their lower case: one object for each name, so that its hash
is computed once. Bounded, because clients can invent names."""

_MAX_NAMES = 1024
_CHUNKED = b"Transfer-Encoding: chunked"


@dataclass(slots=True)
class ReaderContext:
    """Settings and resources that all readers of a worker share."""

    limits: Limits
    clock: Clock
    proxies: TrustedProxies
    buffer_pool: BufferPool
    spool_disk: SpoolDisk
    streams_body: bool
    """The app gets a request when its head has arrived; see RequestHandler."""
    accepts_websockets: bool

    keeps_alive: bool = field(init=False)
    """Connections stay open between requests."""
    small_size: int = field(init=False)
    """Bytes of a request that is within every limit on its head."""

    def __post_init__(self) -> None:
        self.keeps_alive = self.limits.keepalive > 0
        self.small_size = min(self.limits.line, self.limits.header_size)


class ReadingConnection(ClientConnection, Protocol):
    """The part of a connection that a reader uses."""

    @property
    def sink(self) -> ResponseSink:
        """The sink of all its exchanges."""

    def enqueue(self, exchange: Exchange) -> None:
        """Take a request for which the app can be called."""

    def pause_reading(self) -> None:
        """Stop reading from the client."""

    def resume_reading(self) -> None:
        """Undo one pause."""

    def send_continue(self, exchange: Exchange) -> None:
        """Send 100 Continue if the client waits for it."""

    def body_received(self) -> None:
        """Note that the body which the app reads is complete."""


class RequestReader:
    """The callbacks of the parser, and what they have learned of the request that is arriving."""

    __slots__ = (
        "_completed",
        "_content_length",
        "_context",
        "_expect",
        "_has_connection_field",
        "_has_forwarding_fields",
        "_has_inspected_fields",
        "_has_underscores",
        "_headers",
        "_host_count",
        "_is_resuming_body",
        "_size_slack",
        "_transfer_encoding",
        "_upgrade",
        "body_progress",
        "connection",
        "incoming",
        "is_between_requests",
        "parser",
        "piece_size",
        "size",
        "target",
    )

    connection: ReadingConnection
    """The connection that has borrowed this reader."""

    def __init__(self, context: ReaderContext) -> None:
        self._context = context
        self.incoming: Exchange | None = None
        """The request whose head has arrived and whose end has not."""
        self.size = 0
        """Bytes of its head so far, or of framing since the last piece of its body; 0 between two
        requests. Bytes that came in one piece with an earlier request do not count."""
        self.piece_size = 0
        """Bytes of the piece that is being parsed."""
        self.is_between_requests = True
        """The parser waits for the first byte of a request, and nothing else."""
        self._completed = 0
        """Requests that ended in the piece that is being parsed."""
        self._upgrade: Exchange | None = None
        """A request for a WebSocket: the last one that is parsed."""
        self._size_slack = 0
        """Bytes by which the head may be larger than ``size``, at the most."""
        self.target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._host_count = 0
        self._has_connection_field = False
        self._has_inspected_fields = False
        """There are fields besides Host that validate_head() must see."""
        self._has_forwarding_fields = False
        self._has_underscores = False
        """There are field names to be dropped."""
        self._content_length: int | None = None
        self._transfer_encoding: bytes | None = None
        self._expect: bytes | None = None
        self.body_progress = BodyProgress(context.limits, context.clock)
        """The progress of the body that is arriving."""
        self._is_resuming_body = False
        """The next head is made up; see ``_resume_after_upgrade``."""
        self.parser = httptools.HttpRequestParser(self)

    def close(self) -> None:
        """Drop the parser, which refers back to this reader."""
        self.incoming = None
        del self.parser

    def read(self, data: bytes | memoryview) -> Exchange | None:
        """Parse a piece. Raises ClientError.

        Returns an exchange if it asks for a WebSocket. It is the last request that is parsed.
        """
        self.piece_size = len(data)
        self.size += self.piece_size
        self._completed = 0
        remaining = self._feed(data)
        while remaining is not None:
            if (exchange := self._upgrade) is not None:
                exchange.trailing_data = bytes(remaining)
                self.size, self.is_between_requests = 0, True
                return exchange
            # An Upgrade to another protocol is ignored (RFC 9110 section 7.8).
            self._resume_after_upgrade()
            remaining = self._feed(remaining)
        return None

    def _feed(self, data: bytes | memoryview) -> memoryview | None:
        """Feed the parser; return the bytes behind a request with an Upgrade, where it stops."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return memoryview(data)[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            raise client_error_from(error, data, self._completed) from error
        return None

    def is_mostly_framing(self) -> bool:
        """Return whether a body is arriving with far more framing than content.

        Call it once for each piece.
        """
        return self.incoming is not None and self.body_progress.is_mostly_framing(self.piece_size)

    def remaining_body_size(self) -> int:
        """Return the bytes that are still to come of the body that is arriving, 0 if unknown."""
        if self.incoming is None or self._content_length is None:
            return 0
        return self._content_length - self.body_progress.size

    def remaining_spooled_size(self) -> int:
        """Return the bytes that are still to come of a spooled body, 0 if unknown."""
        if self._content_length is None or self._context.streams_body:
            return 0
        return self._content_length - self.body_progress.size

    def finish_body(self) -> None:
        """End a request whose remaining body did not pass through the parser.

        The parser would wait for that body for ever, so a new one takes its place.
        """
        self.parser = httptools.HttpRequestParser(self)
        self.on_message_complete()

    def on_message_begin(self) -> None:
        """Note that a request has begun (httptools callback)."""
        self.is_between_requests = False

    def on_url(self, piece: bytes) -> None:
        """Append a piece of the request target (httptools callback)."""
        self.target = self.target + piece if self.target else piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header field, or a trailer field after the body (httptools callback).

        Raises ClientError.
        """
        value = value.rstrip(b" \t")
        lower = _LOWERCASE_NAMES.get(name)
        if lower is None:
            lower = self._inspect_field(name.lower(), value)
            is_plain = (
                lower not in _INSPECTED_FIELDS
                and not is_forwarding_field(lower)
                and b"_" not in lower
            )
            if is_plain and len(_LOWERCASE_NAMES) < _MAX_NAMES:
                _LOWERCASE_NAMES[name] = lower
        self._headers.append((lower, value))

    def _inspect_field(self, name: bytes, value: bytes) -> bytes:
        """Note what a field means for its request; return its name. Raises ClientError."""
        if name == b"host":
            self._host_count += 1
            if value not in VALID_HOSTS:
                validate_host(value)
        elif name in (b"connection", b"proxy-connection"):
            self._has_connection_field = True  # both mean the same to llhttp
        elif name in _INSPECTED_FIELDS:
            self._has_inspected_fields = True
            if name == b"content-length":
                self._content_length = int(value)
            elif name == b"transfer-encoding":
                several = self._transfer_encoding is not None
                self._transfer_encoding = b"several" if several else value.lower()
            else:
                self._expect = value.lower()
        elif b"_" in name and self._context.limits.underscores != "allow":
            if self._context.limits.underscores == "refuse":
                raise ClientError(400, "the request has a field name with an underscore")
            self._has_inspected_fields = self._has_underscores = True
        elif is_forwarding_field(name):
            self._has_forwarding_fields = True
        return name

    def on_headers_complete(self) -> None:
        """Validate the head, which is complete, and make an exchange (httptools callback).

        Raises ClientError.
        """
        if self._is_resuming_body:
            self._is_resuming_body, self._headers, self.target = False, [], b""
            return
        parser = self.parser
        context = self._context
        headers, target = self._headers, self.target
        head = ParsedHead(target, headers)
        method = parser.get_method()
        head.method = METHODS.get(method) or reject_method(method)
        keep_alive = parser.should_keep_alive()
        # Only HTTP/1.1 is kept alive without a Connection field, and asking for the version costs
        # as much as ten lines of Python.
        upgrades = False
        if not keep_alive or self._has_connection_field:
            head.version = parser.get_http_version()
            upgrades = context.accepts_websockets and parser.should_upgrade()
            self._has_connection_field = False
        # One condition lets nearly all requests pass; the others are validated in detail.
        if (
            self._host_count != 1
            or self._has_inspected_fields
            or head.version != "1.1"
            or target[0] != SLASH
            or b"#" in target
            or self.size + self._size_slack > context.small_size
            or len(headers) > context.limits.headers
        ):
            self._validate(head)
        if b"?" in target:
            head.path, _, head.query = head.path.partition(b"?")
        if not keep_alive or not context.keeps_alive:
            head.keep_alive = False
        self._headers = []  # trailer fields go here and are dropped
        self.target = b""
        self.incoming = exchange = Exchange(self.connection, head, self.connection.sink)
        self.size = 1
        if self._has_forwarding_fields:
            self._has_forwarding_fields = False
            context.proxies.interpret(head, self.connection.is_trusted())
        if self._content_length or self._transfer_encoding is not None:
            self._begin_body(exchange)
        elif upgrades and is_websocket_request(head):
            self.incoming, self._upgrade = None, exchange

    def _validate(self, head: ParsedHead) -> None:
        """Validate an unusual head in detail, and drop names with underscores. Raises
        ClientError."""
        validate_head(
            head,
            self._host_count,
            self._content_length,
            self._transfer_encoding,
            self._expect,
            self._context.limits,
        )
        if self._has_underscores:
            self._has_underscores = False
            head.headers = [field for field in head.headers if b"_" not in field[0]]

    def _begin_body(self, exchange: Exchange) -> None:
        connection, context = self.connection, self._context
        exchange.expects_continue = self._expect is not None and exchange.request.version == "1.1"
        self.body_progress.begin(self.piece_size)
        if context.streams_body:

            def send_continue() -> None:
                connection.send_continue(exchange)

            exchange.body = StreamedBody(
                connection.pause_reading, connection.resume_reading, send_continue
            )
            connection.enqueue(exchange)
        else:
            disk = context.spool_disk
            disk.check_length(self._content_length or 0, context.limits.body_memory)
            exchange.body = SpooledBody(context.buffer_pool, disk)
            connection.send_continue(exchange)

    def on_body(self, data: bytes) -> None:
        """Append a piece of the body, without its chunk framing (httptools callback).

        Raises ClientError.
        """
        exchange = self.incoming
        if exchange is None or exchange.body is None or exchange.response_complete:
            return
        self.size = 1
        progress, context = self.body_progress, self._context
        progress.size += len(data)
        limit = context.limits.body
        if limit is not None and progress.size > limit:
            raise ClientError(413, "the request body is too large")
        exchange.expects_continue = False
        exchange.app_called_at = context.clock.now
        exchange.body.feed(data)  # type: ignore[union-attr]

    def on_message_complete(self) -> None:
        """Finish the request, and give it to the connection (httptools callback)."""
        exchange = self.incoming
        if exchange is None:
            return
        if exchange.body is not None and self.parser.should_upgrade():
            return  # llhttp leaves the body to the new protocol; see _resume_after_upgrade
        if self._headers:
            self._check_trailers()
            self._headers, self._has_forwarding_fields = [], False
        self.incoming = None
        self.is_between_requests = True
        self._completed += 1
        self.size = self._host_count = 0
        self._size_slack = self.piece_size
        exchange.request_complete = True
        if self._has_inspected_fields:
            self._has_inspected_fields = False
            self._content_length = self._transfer_encoding = self._expect = None
        if exchange.body is not None:
            self._end_body(exchange)
        else:
            self.connection.enqueue(exchange)

    def _resume_after_upgrade(self) -> None:
        """Have the parser read the body of a request whose Upgrade is ignored.

        llhttp takes all bytes behind such a head for the new protocol, also a body that the head
        announced. Parsed as a next request, a body could smuggle one in. A new parser that is fed a
        head with the same framing reads it as the body that it is.
        """
        if self.incoming is None or self.incoming.body is None:
            return
        self.parser = httptools.HttpRequestParser(self)
        length = self._content_length
        framing = _CHUNKED if length is None else b"Content-Length: %d" % length
        self._is_resuming_body = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)

    def _check_trailers(self) -> None:
        """Check the size of trailer fields, which are dropped. Raises ClientError (431)."""
        self._has_underscores = False
        limits = self._context.limits
        size = sum(len(name) + len(value) + 4 for name, value in self._headers)
        if size > limits.header_size or len(self._headers) > limits.headers:
            raise ClientError(431, "the request has too many or too large trailer fields")
        if self.incoming is not None and not self.parser.should_keep_alive():
            # Connection: close does not belong there, but the parser reads no further.
            self.incoming.keep_alive = False

    def _end_body(self, exchange: Exchange) -> None:
        if exchange.body is None or exchange.response_complete or exchange.disconnected:
            return
        exchange.body.end()  # type: ignore[union-attr]
        self.connection.body_received()
        if not self._context.streams_body:
            self.connection.enqueue(exchange)
