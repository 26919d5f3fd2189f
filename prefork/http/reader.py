"""Bytes into requests: what llhttp says about one connection becomes Exchanges.

The parser calls back for the target, each field, the end of the head, each piece of the body and
the end of the message. An app that streams gets its request when the head has arrived, any other
one when all of it has. What is refused is raised as ClientError through the parser.
"""

from typing import TYPE_CHECKING

import httptools

from prefork.errors import ClientError
from prefork.http.body import StreamedBody
from prefork.http.body_progress import BodyProgress
from prefork.http.exchange import Exchange
from prefork.http.forwarded import is_forwarding_field
from prefork.http.request import RequestHead
from prefork.http.spool import SpooledBody
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

if TYPE_CHECKING:
    from prefork.http.connection import Connection
    from prefork.http.server_state import ServerState

_INSPECTED_FIELDS = frozenset(
    {
        *(b"host", b"connection", b"proxy-connection"),
        *(b"content-length", b"transfer-encoding", b"expect"),
    }
)
_LOWERCASE_NAMES: dict[bytes, bytes] = {}
"""Harmless field names as sent, and in small letters: one object a name, so that its hash is
computed once. Bounded, for clients that invent names."""
_MAX_NAMES = 1024
_CHUNKED = b"Transfer-Encoding: chunked"


class RequestReader:
    """The parser's callbacks, and what is known of the request that is arriving."""

    __slots__ = (
        "_cacheable_head",
        "_completed",
        "_content_length",
        "_expect",
        "_has_forwarding_fields",
        "_has_inspected_fields",
        "_has_underscores",
        "_headers",
        "_host_count",
        "_is_resuming_body",
        "_plain",
        "_server",
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

    connection: "Connection"
    """Whose bytes it reads; lent to one after another."""

    def __init__(self, server: "ServerState") -> None:
        self._server = server
        self.incoming: Exchange | None = None
        """The request whose head has arrived and whose end has not."""
        self.size = 0
        """Bytes of its head so far, or of framing since the last piece of its body; without those
        that came in one piece with what was before. 0 between two requests."""
        self.piece_size = 0
        """Bytes of the piece that is being parsed."""
        self.is_between_requests = True
        """The parser waits for the first byte of a request, and nothing else."""
        self._completed = 0
        """Requests that ended in the piece that is being parsed."""
        self._cacheable_head: RequestHead | None = None
        """Of a request that just ended, and whose bytes mean the same again."""
        self._upgrade: Exchange | None = None
        """A request for a WebSocket: the last that is read here."""
        self._size_slack = 0
        """How many bytes more it may have at the most."""
        self.target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._host_count = 0
        self._plain = True
        """There is no Connection field."""
        self._has_inspected_fields = False
        """There are fields besides Host that judge() must look at."""
        self._has_forwarding_fields = False
        """There are fields that a proxy may have written."""
        self._has_underscores = False
        """There are field names to be dropped."""
        self._content_length: int | None = None
        self._transfer_encoding: bytes | None = None
        self._expect: bytes | None = None
        self.body_progress = BodyProgress(server)
        """Of the body that is arriving."""
        self._is_resuming_body = False
        self.parser = httptools.HttpRequestParser(self)

    def close(self) -> None:
        """Let go of the parser, which refers back to us."""
        self.incoming = None
        del self.parser

    def read(self, data: bytes | memoryview) -> Exchange | None:
        """Parse a piece. Raises ClientError. An exchange asks for a WebSocket: it is the last that
        is read here."""
        self.piece_size = len(data)
        self.size += self.piece_size
        self._completed = 0
        self._cacheable_head = None
        rest = self._feed(data)
        while rest is not None:
            if (exchange := self._upgrade) is not None:
                exchange.trailing_data = bytes(rest)
                self.size, self.is_between_requests = 0, True
                return exchange
            # No protocol of ours: as if it had not been asked for (RFC 9110 section 7.8).
            self._resume_after_upgrade()
            rest = self._feed(rest)
            self._cacheable_head = None
        return None

    def _feed(self, data: bytes | memoryview) -> memoryview | None:
        """What is behind a request with an Upgrade, if there is one: the parser stops there."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return memoryview(data)[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            raise client_error_from(error, data, self._completed) from error
        return None

    def cacheable_head(self) -> RequestHead | None:
        """The head, when the piece that was parsed ended one memorable request, and no more than
        that."""
        return self._cacheable_head if self._completed == 1 and self.is_between_requests else None

    def is_mostly_framing(self) -> bool:
        """Whether a body is arriving with far more framing than it is worth. To be asked once for
        each piece."""
        return self.incoming is not None and self.body_progress.is_mostly_framing(self.piece_size)

    def remaining_body_size(self) -> int:
        """Bytes of the body that is arriving that are still to come, if that is known; else 0."""
        if self.incoming is None or self._content_length is None:
            return 0
        return self._content_length - self.body_progress.size

    def remaining_spooled_size(self) -> int:
        """Bytes of a spooled body that are still to come, if that is known; else 0."""
        if self._content_length is None or self._server.handler.streams_body:
            return 0
        return self._content_length - self.body_progress.size

    def finish_body(self) -> None:
        """All the rest of the body came past the parser, which would go on to wait for it."""
        self.parser = httptools.HttpRequestParser(self)
        self.on_message_complete()
        self._cacheable_head = None

    def on_message_begin(self) -> None:
        """httptools: the first byte of a request."""
        self.is_between_requests = False

    def on_url(self, piece: bytes) -> None:
        """httptools: the request target, perhaps in pieces."""
        self.target = self.target + piece if self.target else piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: one header field, or a trailer field after the body."""
        value = value.rstrip(b" \t")
        lower = _LOWERCASE_NAMES.get(name)
        if lower is None:
            lower = self._inspect_field(name.lower(), value)
            harmless = (
                lower not in _INSPECTED_FIELDS
                and not is_forwarding_field(lower)
                and b"_" not in lower
            )
            if harmless and len(_LOWERCASE_NAMES) < _MAX_NAMES:
                _LOWERCASE_NAMES[name] = lower
        self._headers.append((lower, value))

    def _inspect_field(self, name: bytes, value: bytes) -> bytes:
        """Look at a field whose name is not known to be harmless; its name."""
        if name == b"host":
            self._host_count += 1
            if value not in VALID_HOSTS:
                validate_host(value)
        elif name in (b"connection", b"proxy-connection"):
            self._plain = False  # the second means the same to llhttp
        elif name in _INSPECTED_FIELDS:
            self._has_inspected_fields = True
            if name == b"content-length":
                self._content_length = int(value)
            elif name == b"transfer-encoding":
                self._transfer_encoding = (
                    value.lower() if self._transfer_encoding is None else b"several"
                )
            else:
                self._expect = value.lower()
        elif is_forwarding_field(name):
            self._has_forwarding_fields = True
        elif b"_" in name and self._server.limits.underscores != "allow":
            # X_Y and X-Y are the same to CGI, WSGI and many a framework: who may send the one could
            # pose as a proxy that sends the other.
            if self._server.limits.underscores == "refuse":
                raise ClientError(400, "a field name with an underscore")
            self._has_inspected_fields = self._has_underscores = True
        return name

    def on_headers_complete(self) -> None:
        """httptools: the head is there. Judge it."""
        if self._is_resuming_body:
            self._is_resuming_body, self._headers, self.target = False, [], b""
            return
        parser = self.parser
        server = self._server
        headers, target = self._headers, self.target
        head = RequestHead(target, headers)
        method = parser.get_method()
        head.method = METHODS.get(method) or reject_method(method)
        keep_alive = parser.should_keep_alive()
        # Only HTTP/1.1 is kept alive without a Connection field, and asking for the version costs
        # as much as ten lines of Python.
        upgrades = False
        if not keep_alive or not self._plain:
            head.version = parser.get_http_version()
            upgrades = server.handler.upgrade is not None and parser.should_upgrade()
            self._plain = True
        # One line for the request that is like nearly all; everything else is judged in detail.
        if (
            self._host_count != 1
            or self._has_inspected_fields
            or head.version != "1.1"
            or target[0] != SLASH
            or b"#" in target
            or self.size + self._size_slack > server.small
            or len(headers) > server.limits.headers
        ):
            validate_head(
                head,
                self._host_count,
                self._content_length,
                self._transfer_encoding,
                self._expect,
                server.limits,
            )
            self._drop_underscore_fields(head)
        if b"?" in target:
            head.path, _, head.query = head.path.partition(b"?")
        if not keep_alive or not server.keeps_alive:
            head.keep_alive = False
        self._headers = []  # trailer fields go here and are forgotten
        self.target = b""
        self.incoming = exchange = Exchange(self.connection, head)
        self.size = 1
        if self._has_forwarding_fields:
            self._has_forwarding_fields = False
            self._read_forwarding_fields(head)
        if self._content_length or self._transfer_encoding is not None:
            self._begin_body(exchange)
        elif upgrades and is_websocket_request(head):
            self.incoming, self._upgrade = None, exchange

    def _drop_underscore_fields(self, head: RequestHead) -> None:
        if self._has_underscores:
            self._has_underscores = False
            head.headers = [field for field in head.headers if b"_" not in field[0]]

    def _read_forwarding_fields(self, head: RequestHead) -> None:
        """Fields that proxies write. Raises ClientError."""
        proxies = self._server.proxies
        if self.connection.is_trusted():
            head.forwarded = proxies.read_forwarded(head.headers)
            head.is_cacheable = not proxies.strips
        else:
            # To somebody who is trusted the same bytes would mean something else.
            head.is_cacheable = False
            if proxies.strips:
                head.headers = [pair for pair in head.headers if not is_forwarding_field(pair[0])]

    def _begin_body(self, exchange: Exchange) -> None:
        connection = self.connection
        exchange.expects_continue = self._expect is not None and exchange.request.version == "1.1"
        self.body_progress.begin(self.piece_size)
        if self._server.handler.streams_body:
            exchange.body = StreamedBody(
                connection.pause_reading,
                connection.resume_reading,
                lambda: connection.send_continue(exchange),
            )
            connection.enqueue(exchange)
        else:
            server = self._server
            server.spool_disk.check_length(self._content_length or 0, server.limits.body_memory)
            exchange.body = SpooledBody(server.buffer_pool, server.spool_disk)
            connection.send_continue(exchange)

    def on_body(self, data: bytes) -> None:
        """httptools: a piece of the body, without its chunk framing."""
        exchange = self.incoming
        if exchange is None or exchange.body is None or exchange.response_complete:
            return
        self.size = 1
        arrival = self.body_progress
        arrival.size += len(data)
        limit = self._server.limits.body
        if limit is not None and arrival.size > limit:
            raise ClientError(413, "the request body is too large")
        exchange.expects_continue = False
        exchange.app_called_at = self._server.now
        exchange.body.feed(data)  # type: ignore[union-attr]

    def on_message_complete(self) -> None:
        """httptools: the request is whole."""
        exchange = self.incoming
        if exchange is None:
            return
        if exchange.body is not None and self.parser.should_upgrade():
            return  # llhttp leaves the body to the new protocol: _read_on() will have it
        if self._headers:
            self._check_trailers()
            self._headers, self._has_forwarding_fields = [], False
        self.incoming = None
        self.is_between_requests = True
        self._completed += 1
        self.size = self._host_count = 0
        self._size_slack = self.piece_size
        exchange.request_complete = True
        request = exchange.request
        if self._has_inspected_fields:
            self._has_inspected_fields = False
            if exchange.body is not None:
                if self._transfer_encoding is None and self._expect is None:
                    request.length = self._content_length or 0
                else:
                    request.is_cacheable = False
            self._content_length = self._transfer_encoding = self._expect = None
        if request.is_cacheable and exchange.keep_alive == request.keep_alive:
            self._cacheable_head = request
        if exchange.body is not None:
            self._end_body(exchange)
        else:
            self.connection.enqueue(exchange)

    def _resume_after_upgrade(self) -> None:
        """Go on behind an Upgrade that we ignore.

        llhttp takes everything behind the head for the new protocol, also a body that the head
        announced; read as a next request it would be smuggled in. A new parser that is told of
        the same framing reads it as the body that it is.
        """
        if self.incoming is None or self.incoming.body is None:
            return
        self.parser = httptools.HttpRequestParser(self)
        framing = (
            _CHUNKED
            if self._content_length is None
            else b"Content-Length: %d" % self._content_length
        )
        self._is_resuming_body = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)

    def _check_trailers(self) -> None:
        """Trailer fields are forgotten, but not collected without limit. Raises ClientError."""
        self._has_underscores = False
        limits = self._server.limits
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
        if not self._server.handler.streams_body:
            self.connection.enqueue(exchange)
