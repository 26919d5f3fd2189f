"""Bytes into requests: what llhttp says about one connection becomes Exchanges.

The parser calls back for the target, each field, the end of the head, each piece of the body and
the end of the message. An app that streams gets its request when the head has arrived, any other
one when all of it has. What is refused is raised as ClientError through the parser.
"""

from typing import TYPE_CHECKING

import httptools

from prefork.errors import ClientError
from prefork.http.body import SpooledBody, StreamedBody
from prefork.http.exchange import Exchange
from prefork.http.judge import SLASH, judge

if TYPE_CHECKING:
    from prefork.http.connection import Connection

_SPECIAL = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})
_METHODS: dict[bytes, str] = {}
_NAMES: dict[bytes, bytes] = {}
"""Harmless field names as sent, and in small letters: one object a name, so that its hash is
computed once. Bounded, for clients that invent names."""
_MOST_NAMES = 1024


class RequestReader:
    """The parser's callbacks, and what is known of the request that is arriving."""

    __slots__ = (
        "_body_size",
        "_coding",
        "_connection",
        "_expect",
        "_headers",
        "_hosts",
        "_length",
        "_service",
        "_special",
        "incoming",
        "parser",
        "size",
        "target",
    )

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._service = connection.service
        self.incoming: Exchange | None = None
        """The request whose head has arrived and whose end has not."""
        self.size = 0
        """Bytes of it so far; 0 between two requests."""
        self.target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._hosts = 0
        self._special = False
        """There are fields besides Host that judge() must look at."""
        self._length: int | None = None
        self._coding: bytes | None = None
        self._expect: bytes | None = None
        self._body_size = 0
        self.parser = httptools.HttpRequestParser(self)

    def close(self) -> None:
        """Let go of the parser, which refers back to us."""
        self.incoming = None
        del self.parser

    def on_url(self, piece: bytes) -> None:
        """httptools: the request target, perhaps in pieces."""
        self.target = self.target + piece if self.target else piece

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
        elif name in _SPECIAL:
            self._special = True
            if name == b"content-length":
                self._length = int(value)
            elif name == b"transfer-encoding":
                self._coding = value.lower() if self._coding is None else b"several"
            else:
                self._expect = value.lower()
        return name

    def on_headers_complete(self) -> None:
        """httptools: the head is there. Judge it."""
        parser = self.parser
        service = self._service
        headers, target = self._headers, self.target
        exchange = Exchange(self._connection, headers, target)
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
            or self.size > service.small
            or len(headers) > service.limits.headers
        ):
            judge(exchange, self._hosts, self._length, self._coding, self._expect, service.limits)
        if b"?" in target:
            exchange.path, _, exchange.query = exchange.path.partition(b"?")
        if not service.keeps_alive or not parser.should_keep_alive():
            exchange.keep_alive = False
        self._headers = []  # trailer fields go here and are forgotten
        self.target = b""
        self.incoming = exchange
        if self._length or self._coding is not None:
            self._begin_body(exchange)

    def _begin_body(self, exchange: Exchange) -> None:
        connection = self._connection
        exchange.expects = self._expect is not None and exchange.version == "1.1"
        self._body_size = 0
        if self._service.handler.streams:
            exchange.body = StreamedBody(
                connection.pause, connection.resume, lambda: connection.invite(exchange)
            )
            connection.take(exchange)
        else:
            exchange.body = SpooledBody()
            if connection.current is None:
                connection.invite(exchange)

    def on_body(self, data: bytes) -> None:
        """httptools: a piece of the body, without its chunk framing."""
        exchange = self.incoming
        if exchange is None or exchange.body is None or exchange.ended:
            return
        self._body_size += len(data)
        limit = self._service.limits.body
        if limit is not None and self._body_size > limit:
            raise ClientError(413, "the request body is too large")
        exchange.expects = False
        exchange.began = self._service.now
        exchange.body.feed(data)

    def on_message_complete(self) -> None:
        """httptools: the request is whole."""
        exchange = self.incoming
        if exchange is None:
            return
        self.incoming = None
        self.size = self._hosts = 0
        if self._headers:
            self._headers = []
        exchange.complete = True
        if self._special:
            self._special = False
            self._length = self._coding = self._expect = None
            if exchange.body is not None:
                self._end_body(exchange)
                return
        self._connection.take(exchange)

    def _end_body(self, exchange: Exchange) -> None:
        if exchange.body is None or exchange.ended or exchange.gone:
            return
        exchange.body.end()
        self._connection.whole()
        if not self._service.handler.streams:
            self._connection.take(exchange)
