"""One request and its response; the only way to answer a request.

``respond`` sends a whole response in one write. ``start_response``, ``send`` and ``finish`` stream
one; the head waits for the first piece of the body, so that a short one is one write here, too.

What a response means is decided here, for every version of HTTP (RFC 9110): its status and fields,
no body for HEAD, 204, 205 and 304, a Content-Length that the app must keep (else it gets a
ResponseError), interim responses, trailers, and what happens when the app fails. How that is
written is the business of a ResponseSink, such as the one of HTTP/1.1 (http1/http1_sink.py).

The protocols at the top are what an exchange, the app interfaces and WebSockets need of a
connection and of the state of the worker. Both know exchanges, so an exchange does not import them.

Design
------
- **An exchange hands its sink lines, not pairs.** The head is a list of encoded lines, the status
  line first: an app sends the same few fields with every response, and their lines are cached
  (response_head.py). A framing that needs pairs splits a line at its first ``: ``, and can cache
  that by the line. Pairs would cost HTTP/1.1 a second look-up for each field.
- **A sink is an object of its own, not a subclass of Exchange,** so that what a response means is
  tested on a sink in memory, and a compiled sink can take the place of ours.
- **Durations go by the exact clock, deadlines by the coarse one** (``started_at`` and
  ``app_called_at``). A duration in the log must be exact; a deadline only to the tick, and a look
  at the coarse clock costs no system call.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from prefork.errors import ClientGoneError
from prefork.http import response_head
from prefork.http.app_call import AppCall
from prefork.http.body import Body
from prefork.http.clock import Clock
from prefork.http.connection_cache import ConnectionCache
from prefork.http.flow_control import FlowControl
from prefork.http.forwarded import ForwardedInfo
from prefork.http.limits import Limits
from prefork.http.movable_connection import MovableConnection
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


class OpenConnection(Protocol):
    """An open connection, whatever protocol is spoken on it."""

    deadline: float
    """When to call ``expire``, by the coarse clock."""

    @property
    def movable(self) -> MovableConnection | None:
        """This connection, if another worker can serve its client; None: it stays here."""

    def in_flight(self) -> "Sequence[Exchange]":
        """Return the requests in progress: their turn has come. Other threads may call it."""

    def expire(self) -> None:
        """Act on the deadline, which has passed."""

    def drain(self) -> None:
        """Close soon, because the worker drains."""

    def close_after_response(self) -> None:
        """Close after the next response, whenever it comes."""

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

    is_multiplexed: bool
    """Several requests may be in flight at a time."""
    peer: Peer
    cache: ConnectionCache | None
    """Data of the app interface's for all requests of this client."""
    close_requested: bool

    @property
    def server(self) -> SharedState:
        """The state that all connections of the worker share."""

    def is_trusted(self) -> bool:
        """Return whether the client is a proxy whose forwarding fields count."""

    def is_last_response(self) -> bool:
        """Return whether the connection closes after the response that is being made."""

    def take_turn(self) -> "Exchange | None":
        """Return the exchange that is being answered; only where not ``is_multiplexed``."""

    def finish_exchange(self, exchange: "Exchange", /) -> None:
        """Go on after an exchange that was answered."""

    def abort_response(self, exchange: "Exchange", /) -> None:
        """Cut a response off, so that its client does not take it for a complete one."""

    def switch_protocol(
        self, exchange: "Exchange", head: bytes, protocol: asyncio.Protocol, /
    ) -> None:
        """Answer with ``head``, that of a 101, and hand the transport to another protocol."""


class ResponseSink(Protocol):
    """Writes the responses of exchanges as its protocol frames them.

    ``head``: the status line and the lines of the fields, each with its CRLF. A protocol without
    reason phrases takes the status from the exchange. None instead of a head: it was sent before.
    The sink may append to a head, behind an empty line.
    """

    @property
    def flow(self) -> FlowControl:
        """The flow control of what is written here."""

    def is_closing(self) -> bool:
        """Return whether what is written from now on is dropped."""

    def send_interim(self, status: int, lines: bytes) -> None:
        """Send an interim response, such as 100 or 103, with these lines of fields."""

    def send_usual(
        self, exchange: "Exchange", line: bytes, fields: Iterable[HeaderPair], body: bytes, /
    ) -> bytes | None:
        """Send a whole response if it is a usual one, and return its bytes from the status line on.

        None: nothing was sent, and the exchange decides what the response means. A sink may return
        None for every response.
        """

    def send_response(self, exchange: "Exchange", head: list[bytes], body: bytes, /) -> None:
        """Send a whole response."""

    def frame_unknown_length(self, exchange: "Exchange", head: list[bytes], /) -> None:
        """Add to ``head`` what marks the end of a body whose length is unknown."""

    def write(self, exchange: "Exchange", head: list[bytes] | None, data: bytes, /) -> None:
        """Send a piece of the body; an empty one: send the head now."""

    def end(
        self, exchange: "Exchange", head: list[bytes] | None, data: bytes, trailers: bytes, /
    ) -> None:
        """Send the last piece of the body, which may be empty, and lines of trailer fields."""

    async def send_file(self, exchange: "Exchange", fd: int, offset: int, count: int, /) -> int:
        """Send up to ``count`` bytes of a file, if this sink need not read it for that.

        Returns how many were sent; the caller reads and sends the others.
        """


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
    has_unknown_length = False
    """The length of the body is not known in advance."""
    remaining: int | None = None
    """Bytes of the body that are still due; None: unknown."""
    truncates_body = False
    """The body may be longer than the app's Content-Length, as a file may be: send no more."""
    trailing_data: bytes | None = None
    """Bytes behind the head of a request for a WebSocket; None: it is another request."""
    call: AppCall | None = None
    """The call of the app; None: it has returned, or cannot be ended from outside."""

    _head: list[bytes] | None = None

    def __init__(
        self, connection: ClientConnection, request: RequestHead, sink: ResponseSink
    ) -> None:
        self.connection = connection
        self.sink = sink
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
        lines = b"".join(self._head or ()).partition(response_head.HEAD_END * 2)[0]
        for line in lines.split(b"\r\n")[1:]:
            key, _, value = line.partition(b": ")
            if key.lower() == name:
                return value
        return None

    def respond(self, status: int, line: bytes, fields: Iterable[HeaderPair], body: bytes) -> None:
        """Send a whole response in one write.

        ``line``: the status line with its CRLF. Raises ResponseError or ClientGoneError.
        """
        size = len(body)
        if self._may_be_usual(status):
            response = self.sink.send_usual(self, line, fields, body)
            if response is not None:
                self.note_response(status, response, size)
                self.connection.finish_exchange(self)
                return
        head = self._compose(status, line, fields, size)
        if self.disconnected:
            raise ClientGoneError("the client left before the response ended")
        self._head = head
        self.headers_sent = self.response_complete = True
        if self.is_bodiless:
            body = b""
        else:
            self.body_bytes_sent = size
        self.sink.send_response(self, head, body)
        self.connection.finish_exchange(self)

    def note_response(self, status: int, response: bytes, size: int) -> None:
        """Note that a whole response was sent; ``size``: bytes of its body."""
        self._head = [response]
        self.status = status
        self.headers_sent = self.response_complete = True
        self.body_bytes_sent = size

    def _may_be_usual(self, status: int) -> bool:
        """Return whether nothing besides the fields and the body decides about the response."""
        return (
            self.request_complete
            and not self.disconnected
            and not self.extra_fields
            and not self.connection.close_requested
            and status not in response_head.BODILESS_STATUSES
            and self.request.method != "HEAD"
        )

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
        """Return the lines of the response's head. Raises ResponseError."""
        head = [line]
        declared = None
        for pair in fields:
            try:
                known = ENCODED_FIELDS.get(pair)
            except TypeError:  # a list instead of a tuple, which ASGI allows
                pair = tuple(pair)  # type: ignore[assignment]  # noqa: PLW2901
                known = ENCODED_FIELDS.get(pair)
            field, meaning = known or self.connection.server.encode_field(pair)
            head.append(field)
            if meaning != PLAIN:
                if meaning >= 0 and declared is None:
                    declared = meaning
                else:
                    self._interpret(meaning)
        self.status = status
        # The usual response has a Content-Length, and that is right.
        if declared is None or declared != length or status in response_head.BODILESS_STATUSES:
            self._decide_length(head, declared, length)
        elif self.request.method == "HEAD":
            self.is_bodiless = True
        set_by_app = self._app_set_fields
        head.append(
            DefaultFields.lines if set_by_app is None else DefaultFields.lines_except(set_by_app)
        )
        if self.extra_fields:
            self._add_extra_fields(head)
        connection = self.connection
        if not self.request_complete or (
            connection.close_requested and connection.is_last_response()
        ):
            self.keep_alive = False
        return head

    def _add_extra_fields(self, head: list[bytes]) -> None:
        """Append ``extra_fields``, unless the app sent such a field itself."""
        name = self.extra_fields.partition(b":")[0].lower() + b":"
        if not any(line[: len(name)].lower() == name for line in head):
            head.append(self.extra_fields)

    def _interpret(self, meaning: int) -> None:
        """Note a field of the app's that decides something. Raises ResponseError."""
        if meaning >= 0:
            raise ResponseError("the response has two Content-Length fields")
        if meaning in (DATE, SERVER):
            self._app_set_fields = {meaning, *(self._app_set_fields or ())}
        elif meaning == CLOSE:
            self.keep_alive = False

    def _decide_length(self, head: list[bytes], declared: int | None, length: int | None) -> None:
        """Decide about the body's length: declared by the app, known, unknown, or no body at all
        (RFC 9110 section 8.6)."""
        has_no_body = self.status in response_head.BODILESS_STATUSES
        self.is_bodiless = has_no_body or self.request.method == "HEAD"
        if has_no_body and self.status != 304:
            # No length (RFC 9110 section 8.6), or none but 0 (section 15.3.6).
            prefix = response_head.CONTENT_LENGTH_PREFIX
            head[:] = [line for line in head if not line.lower().startswith(prefix)]
            if self.status == 205:
                head.append(response_head.CONTENT_LENGTH_LINE % 0)
        elif declared is not None:
            self.remaining = declared
            if length is not None and length != declared and not self.is_bodiless:
                self._check_declared_length(declared, length)
        elif has_no_body:
            pass
        elif length is not None:
            self.remaining = length
            head.append(response_head.CONTENT_LENGTH_LINE % length)
        elif not self.is_bodiless:
            self.has_unknown_length = True
            self.sink.frame_unknown_length(self, head)

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
            self.sink.send_interim(103, lines)

    def send(self, data: bytes) -> None:
        """Send a piece of the body. Raises ResponseError or ClientGoneError."""
        if self.response_complete:
            # The bytes would be read as the beginning of the next response of the connection.
            raise ResponseError("the response has ended")
        if self.sink.is_closing():
            # The sink drops what it is given now, and an app that never waits for anything
            # else would not let the loop tell it that the client is gone.
            raise ClientGoneError("the client left before the response ended")
        if not data or self.is_bodiless:
            self.send_headers()
            return
        self.count_body_bytes(len(data))
        self.sink.write(self, self._unsent_head(), data)

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
            data = trailers = b""
        self.sink.end(self, self._unsent_head(), data, trailers)
        self.response_complete = True
        self.connection.finish_exchange(self)

    def send_headers(self) -> None:
        """Send the head now, before there is any body."""
        if not self.headers_sent:
            self.sink.write(self, self._unsent_head(), b"")

    def count_body_bytes(self, size: int) -> None:
        """Count bytes of the body that are about to be sent. Raises ResponseError."""
        self.body_bytes_sent += size
        if self.remaining is not None:
            if size > self.remaining:
                raise ResponseError("the body is longer than its Content-Length")
            self.remaining -= size

    def _unsent_head(self) -> list[bytes] | None:
        """Return the head that must be sent first; None: it was sent. Raises ClientGoneError."""
        if self.disconnected:
            raise ClientGoneError("the client left before the response ended")
        if self.headers_sent:
            return None
        self.headers_sent = True
        return self._head

    def fail(self) -> None:
        """End a response that went wrong: send a 500, or cut the response off if bytes were
        sent."""
        if self.response_complete or self.disconnected:
            return
        if self.headers_sent:
            self.response_complete = True
            self.connection.abort_response(self)
            self.connection.finish_exchange(self)
        else:
            self.send_error(500)

    def reset_response(self) -> None:
        """Forget the response so far, of which nothing was sent, so that another can begin."""
        self._head, self.remaining, self.has_unknown_length = None, None, False
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
