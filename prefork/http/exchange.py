"""One request and its response; the only way to answer a request.

``respond`` sends a whole response in one write. ``start_response``, ``send`` and ``finish`` stream
one; the head waits for the first piece of the body, so that a short response is one write here,
too. Framing (RFC 9112 section 6) is decided here: Content-Length, else chunked, else the end of the
connection; no body for HEAD, 204, 205 and 304. An app that breaks its own Content-Length gets a
ResponseError.

The protocols at the top are what an exchange, the app interfaces and WebSockets need of a
connection and of the state of the worker. Both know exchanges, so an exchange does not import them.

Design
------
- **Durations go by the exact clock, deadlines by the coarse one** (``started_at`` and
  ``app_called_at``). A duration in the log must be exact; a deadline only to the tick, and a look
  at the coarse clock costs no system call.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

from prefork.errors import ClientGoneError
from prefork.http import response_head
from prefork.http.body import Body
from prefork.http.clock import Clock
from prefork.http.flow_control import FlowControl
from prefork.http.forwarded import ForwardedInfo
from prefork.http.limits import Limits
from prefork.http.peer import HostPort, Peer
from prefork.http.request import RequestHead
from prefork.http.response_head import (
    CLOSE,
    DATE,
    ENCODED_FIELDS,
    PLAIN,
    SERVER,
    DefaultFields,
    EncodedField,
    HeaderPair,
    ResponseError,
)
from prefork.plural import pluralize

JOIN_BELOW = 16 * 1024
"""Bytes of a body. A smaller one is copied behind its head; a larger one is handed to the transport
as it is."""


class OpenConnection(Protocol):
    """An open connection, whatever protocol is spoken on it."""

    deadline: float
    """When to call ``expire``, by the coarse clock."""

    @property
    def current(self) -> "Exchange | None":
        """The request that is being answered."""

    def expire(self) -> None:
        """Act on the deadline, which has passed."""

    def drain(self) -> None:
        """Close soon, because the worker drains."""

    def release_if_idle(self) -> bool:
        """Return whether the connection is idle; an idle one gives back what a request needs."""


class SharedState(Protocol):
    """The part of ServerState that exchanges, app interfaces and WebSockets use."""

    loop: asyncio.AbstractEventLoop
    clock: Clock
    limits: Limits
    draining: bool
    has_no_successor: bool
    has_websockets: bool

    def encode_field(self, pair: HeaderPair, /) -> EncodedField:
        """Validate and encode a header field that was not seen before."""

    def add_connection(self, connection: OpenConnection, /) -> None:
        """Add a connection that is counted in the load already."""

    def connection_closed(self, connection: OpenConnection, /) -> None:
        """Remove a connection that is gone."""


class ClientConnection(OpenConnection, Protocol):
    """The connection of a client, as far as exchanges and app interfaces use it."""

    transport: asyncio.Transport
    peer: Peer
    handler_state: Any
    close_requested: bool
    flow: FlowControl

    @property
    def server(self) -> SharedState:
        """The state that all connections of the worker share."""

    def is_trusted(self) -> bool:
        """Return whether the client is a proxy whose forwarding fields count."""

    def is_last_response(self) -> bool:
        """Return whether the connection closes after the response that is being made."""

    def finish_exchange(self, exchange: "Exchange", /) -> None:
        """Go on after an exchange that was answered."""

    def switch_protocol(self, exchange: "Exchange", protocol: asyncio.Protocol, /) -> None:
        """Hand the transport to another protocol, after a 101."""

    def abort(self) -> None:
        """Reset the connection."""

    def pause_writing(self) -> None:
        """Wait for the client to read."""

    def resume_writing(self) -> None:
        """Go on with what waited for the client to read."""


class Exchange:
    """One request and its response. The connection makes it when the head has arrived.

    Most defaults are class attributes, so an attribute that is neither changed nor read costs a
    request nothing. What every response reads is set in ``__init__``, because Python 3.11 reads an
    attribute of an instance much faster than one of its class.
    """

    expects_continue = False
    """The client waits for 100 Continue."""
    request_complete = False
    """The whole request has arrived."""
    app_called_at = 0.0
    """Since when the app owes a response, by the coarse clock. The request timeout counts from
    it."""
    started_at = 0.0
    """When the request's turn on its connection came (time.monotonic); 0: not yet."""

    is_queued = False
    """The request waits for a thread: the app does not have it yet."""
    is_overdue = False
    """The app has had the request for longer than the request timeout."""
    is_logged_slow = False
    """The log has reported that the request takes long (--slow-log)."""

    status = 0
    """Status of the response; 0 until it started."""
    response_complete = False
    body_bytes_sent = 0
    is_chunked = False
    """The length of the body is not known in advance, so the body is sent in chunks."""
    remaining: int | None = None
    """Bytes of the body that are still due; None: unknown."""
    truncates_body = False
    """The body may be longer than the app's Content-Length, as a file may be: send no more."""
    trailing_data: bytes | None = None
    """Bytes behind the head of a request for a WebSocket; None: it is another request."""
    handler_state: object = None
    """An object of the handler's, kept while the app works on the request."""

    _head: list[bytes] | None = None

    def __init__(self, connection: ClientConnection, request: RequestHead) -> None:
        self.connection = connection
        self.request = request
        self.keep_alive = request.keep_alive
        self.body: Body | None = None
        """The body of the request; None: it has none."""
        self.request_id = ""
        """Empty if requests have no ids."""
        self.headers_sent = False
        """Bytes of the response were written: it cannot become a 500 any more."""
        self.is_bodiless = False
        """The response has no body whatever the app sends: HEAD, 204, 205, 304."""
        self.disconnected = False
        """The client is gone, or the request was refused: nothing more can be sent."""
        self.extra_fields = b""
        """Lines that the server adds to the head of the response, besides the usual ones."""
        self._app_set_fields: set[int] | None = None
        """Fields that the server would set but the app has set: DATE, SERVER."""

    @property
    def forwarded(self) -> ForwardedInfo | None:
        """The information of trusted proxies about the request; None: they gave none."""
        forwarded = self.request.forwarded
        return forwarded if forwarded is not None and self.connection.is_trusted() else None

    @property
    def client(self) -> HostPort | None:
        """The client as far as it is known, behind trusted proxies; None: a unix socket."""
        forwarded = self.forwarded
        if forwarded is not None and forwarded.client:
            return forwarded.client
        return self.connection.peer.client

    def response_field(self, name: bytes) -> bytes | None:
        """Return the value of a field of the response, or None; ``name`` in lower case."""
        for part in (self._head or ())[1:]:
            for line in part.split(b"\r\n"):
                key, _, value = line.partition(b": ")
                if key.lower() == name:
                    return value
            if part == response_head.HEAD_END or part.endswith(b"\r\n\r\n"):
                break  # the next part may be the body
        return None

    def respond(self, status: int, line: bytes, fields: Iterable[HeaderPair], body: bytes) -> None:
        """Send a whole response in one write.

        ``line``: the status line with its CRLF. Raises ResponseError or ClientGoneError.
        """
        size = len(body)
        parts = self._compose(status, line, fields, size)
        if self.disconnected:
            raise ClientGoneError("the client left before the response ended")
        self._head = parts
        self.headers_sent = self.response_complete = True
        connection = self.connection
        if self.is_bodiless:
            connection.transport.write(b"".join(parts))
        elif size < JOIN_BELOW:
            self.body_bytes_sent = size
            parts.append(body)
            connection.transport.write(b"".join(parts))
        else:
            self.body_bytes_sent = size
            connection.transport.writelines((b"".join(parts), body))
        connection.finish_exchange(self)

    def start_response(
        self, status: int, line: bytes, fields: Iterable[HeaderPair], length: int | None
    ) -> None:
        """Begin to stream a response; nothing is sent before the first piece of the body.

        ``line``: the status line with its CRLF. ``length``: of the body, None if unknown. Raises
        ResponseError.
        """
        self._head = self._compose(status, line, fields, length)

    def _compose(
        self, status: int, line: bytes, fields: Iterable[HeaderPair], length: int | None
    ) -> list[bytes]:
        """Return the head of the response in parts, with its empty line. Raises ResponseError."""
        parts = [line]
        declared = None
        for pair in fields:
            try:
                known = ENCODED_FIELDS.get(pair)
            except TypeError:  # a list instead of a tuple, which ASGI allows
                pair = tuple(pair)  # type: ignore[assignment]  # noqa: PLW2901
                known = ENCODED_FIELDS.get(pair)
            field, meaning = known or self.connection.server.encode_field(pair)
            parts.append(field)
            if meaning != PLAIN:
                if meaning >= 0 and declared is None:
                    declared = meaning
                else:
                    self._interpret(meaning)
        self.status = status
        # The usual response needs no framing: it has a Content-Length, and that is right.
        if declared is None or declared != length or status in response_head.BODILESS_STATUSES:
            self._frame(parts, declared, length)
        elif self.request.method == "HEAD":
            self.is_bodiless = True
        set_by_app = self._app_set_fields
        parts.append(
            DefaultFields.lines if set_by_app is None else DefaultFields.lines_except(set_by_app)
        )
        if self.extra_fields:
            self._add_extra_fields(parts)
        connection = self.connection
        if not self.request_complete or (
            connection.close_requested and connection.is_last_response()
        ):
            self.keep_alive = False
        if not self.keep_alive:
            parts.append(response_head.HEAD_END_CLOSE)
        else:
            is_new = self.request.version == "1.1"
            parts.append(response_head.HEAD_END if is_new else response_head.HEAD_END_KEEP_ALIVE)
        return parts

    def _add_extra_fields(self, parts: list[bytes]) -> None:
        """Append ``extra_fields``, unless the app sent such a field itself."""
        name = self.extra_fields.partition(b":")[0].lower() + b":"
        if not any(part[: len(name)].lower() == name for part in parts):
            parts.append(self.extra_fields)

    def _interpret(self, meaning: int) -> None:
        """Note a field of the app's that decides something. Raises ResponseError."""
        if meaning >= 0:
            raise ResponseError("the response has two Content-Length fields")
        if meaning in (DATE, SERVER):
            self._app_set_fields = {meaning, *(self._app_set_fields or ())}
        elif meaning == CLOSE:
            self.keep_alive = False

    def _frame(self, parts: list[bytes], declared: int | None, length: int | None) -> None:
        """Decide how the end of the body is marked (RFC 9112 section 6)."""
        has_no_body = self.status in response_head.BODILESS_STATUSES
        self.is_bodiless = has_no_body or self.request.method == "HEAD"
        if has_no_body and self.status != 304:
            # No length (RFC 9110 section 8.6), or none but 0 (section 15.3.6).
            prefix = response_head.CONTENT_LENGTH_PREFIX
            parts[:] = [part for part in parts if not part.lower().startswith(prefix)]
            if self.status == 205:
                parts.append(response_head.CONTENT_LENGTH_LINE % 0)
        elif declared is not None:
            self.remaining = declared
            if length is not None and length != declared and not self.is_bodiless:
                self._check_declared_length(declared, length)
        elif has_no_body:
            pass
        elif length is not None:
            self.remaining = length
            parts.append(response_head.CONTENT_LENGTH_LINE % length)
        elif self.is_bodiless:
            pass
        elif self.request.version == "1.1":
            self.is_chunked = True
            parts.append(response_head.CHUNKED_LINE)
        else:
            self.keep_alive = False

    def _check_declared_length(self, declared: int, length: int) -> None:
        if not self.truncates_body or length < declared:
            has = pluralize(length, "byte")
            raise ResponseError(f"Content-Length is {declared} but the body has {has}")

    def send_early_hints(self, lines: bytes) -> None:
        """Send 103 Early Hints (RFC 8297), unless the response has begun or the client is old.

        ``lines``: header fields, each with its CRLF.
        """
        is_new = self.request.version == "1.1"
        if lines and not self.headers_sent and not self.disconnected and is_new:
            status_line = response_head.STATUS_LINES[103]
            self.connection.transport.write(b"%b%b\r\n" % (status_line, lines))

    def send(self, data: bytes) -> None:
        """Send a piece of the body. Raises ResponseError or ClientGoneError."""
        if self.connection.transport.is_closing():
            # The transport drops what it is given now, and an app that never waits for anything
            # else would not let the loop tell it that the client is gone.
            raise ClientGoneError("the client left before the response ended")
        if not data or self.is_bodiless:
            self.send_headers()
            return
        self.count_body_bytes(len(data))
        self._write(b"%x\r\n%b\r\n" % (len(data), data) if self.is_chunked else data)

    def finish(self, data: bytes = b"", trailers: bytes = b"") -> None:
        """Send the last piece of the body, and end the response.

        ``trailers``: lines of trailer fields for a chunked body. Raises ResponseError or
        ClientGoneError.
        """
        if data and not self.is_bodiless:
            self.count_body_bytes(len(data))
        if self.remaining and not self.is_bodiless:
            missing = pluralize(self.remaining, "byte")
            raise ResponseError(f"the body ended {missing} before its Content-Length")
        if self.is_bodiless:
            data = b""
        elif self.is_chunked:
            last = b"0\r\n%b\r\n" % trailers if trailers else b"0\r\n\r\n"
            data = b"%x\r\n%b\r\n%b" % (len(data), data, last) if data else last
        self._write(data)
        self.response_complete = True
        self.connection.finish_exchange(self)

    def send_headers(self) -> None:
        """Send the head now, before there is any body."""
        if not self.headers_sent:
            self._write(b"")

    def count_body_bytes(self, size: int) -> None:
        """Count bytes of the body that are about to be sent. Raises ResponseError."""
        self.body_bytes_sent += size
        if self.remaining is not None:
            if size > self.remaining:
                raise ResponseError("the body is longer than its Content-Length")
            self.remaining -= size

    def _write(self, data: bytes) -> None:
        if self.disconnected:
            raise ClientGoneError("the client left before the response ended")
        if self.headers_sent:
            if data:
                self.connection.transport.write(data)
            return
        self.headers_sent = True
        parts = self._head
        assert parts is not None
        if len(data) < JOIN_BELOW:
            parts.append(data)
            self.connection.transport.write(b"".join(parts))
        else:
            self.connection.transport.writelines((b"".join(parts), data))

    def fail(self) -> None:
        """End a response that went wrong: send a 500, or reset the connection if bytes were
        sent."""
        if self.response_complete or self.disconnected:
            return
        if self.headers_sent:
            self.response_complete = True
            self.connection.abort()
            self.connection.finish_exchange(self)
        else:
            self.send_error(500)

    def reset_response(self) -> None:
        """Forget the response so far, of which nothing was sent, so that another can begin."""
        self._head, self.remaining, self.is_chunked = None, None, False
        self._app_set_fields = None
        self.body_bytes_sent = 0

    def send_error(self, status: int, text: str = "", fields: Iterable[HeaderPair] = ()) -> None:
        """Answer with one line of plain text instead of the response so far.

        ``text``: the line; default: the reason phrase of the status.
        """
        self.reset_response()
        line = response_head.STATUS_LINES[status]
        body = (text or line[9:].decode().strip()).encode() + b"\n"
        plain = (b"Content-Type", b"text/plain; charset=utf-8")
        self.respond(status, line, (plain, *fields), body)
