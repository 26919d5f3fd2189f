"""One request, and the one way to answer it.

``answer`` sends a whole response in one write. ``start``, ``send`` and ``finish`` stream one; the
head waits for the first piece of the body, so that a short response is one write here too. Framing
(RFC 9112 section 6) is decided here: Content-Length, else chunked, else the end of the connection;
no body for HEAD, 204, 205 and 304. An app that breaks its own Content-Length is caught here.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefork.errors import ClientGoneError
from prefork.http import response_head
from prefork.http.body import Body
from prefork.http.forwarded import ForwardedInfo
from prefork.http.peer import HostPort
from prefork.http.request import RequestHead
from prefork.http.response_head import (
    CLOSE,
    DATE,
    ENCODED_FIELDS,
    PLAIN,
    SERVER,
    DefaultFields,
    HeaderPair,
    ResponseError,
)
from prefork.plural import pluralize

if TYPE_CHECKING:
    from prefork.http.connection import Connection

JOIN_BELOW = 16 * 1024
"""Larger pieces are handed to the transport as they are instead of being copied."""


class Exchange:
    """Made by the connection when a request begins. Defaults are class attributes: one that is
    neither changed nor read costs a request nothing. What every answer reads is set at its birth,
    because Python 3.11 reads an instance's own attribute much faster than its class's."""

    expects_continue = False
    request_complete = False
    """The whole request has arrived."""
    app_called_at = 0.0
    """When the app got the ball, on the service's coarse clock: from when its time counts."""
    started_at = 0.0
    """When its turn came, to the microsecond (monotonic); 0: not yet."""

    is_queued = False
    """It waits for its turn: the app does not have it yet."""
    is_overdue = False
    """The app has had it for longer than the request timeout."""
    is_logged_slow = False
    """The log has told that it takes long (--slow-log)."""

    status = 0
    """Of the response; 0 until it started."""
    response_complete = False
    body_bytes_sent = 0
    """Body bytes sent."""
    is_chunked = False
    """The body has no length that is known from the start, and is sent in chunks."""
    remaining: int | None = None
    """Bytes of the body that are still due; None when that is not known."""
    truncates_body = False
    """The body offered may be longer than the app's Content-Length, as a file's: send no more."""
    trailing_data: bytes | None = None
    """What the client sent behind the head of a request for a WebSocket; None: it is none."""
    handler_state: object = None
    """Whatever the handler keeps here while it works."""

    _head: list[bytes] | None = None

    def __init__(self, connection: "Connection", request: RequestHead) -> None:
        self.connection = connection
        self.request = request
        self.keep_alive = request.keep_alive
        self.body: Body | None = None
        """None: the request has none."""
        self.request_id = ""
        """Of the request, if requests have ids."""
        self.headers_sent = False
        """Bytes of it were handed to the transport: it cannot become a 500 any more."""
        self.is_bodiless = False
        """The response has no body whatever the app sends: HEAD, 204, 205, 304."""
        self.disconnected = False
        """The client left; nothing can be sent."""
        self.extra_fields = b""
        """Lines that the server adds to the head of the response, besides the usual ones."""
        self._app_set_fields: set[int] | None = None
        """Fields of ours that the app sets itself."""

    @property
    def forwarded(self) -> ForwardedInfo | None:
        """What trusted proxies say about the request; None: there are none, or they say nothing."""
        origin = self.request.forwarded
        return origin if origin is not None and self.connection.is_trusted() else None

    @property
    def client(self) -> HostPort | None:
        """Who sent it, as far as is known; None: somebody on a unix socket."""
        origin = self.forwarded
        return (
            origin.client if origin is not None and origin.client else self.connection.peer.client
        )

    def response_field(self, name: bytes) -> bytes | None:
        """The value of a field of the response, by its name in small letters."""
        for part in (self._head or ())[1:]:
            for line in part.split(b"\r\n"):
                key, _, value = line.partition(b": ")
                if key.lower() == name:
                    return value
            if part == response_head.HEAD_END or part.endswith(b"\r\n\r\n"):
                break  # behind it may be the body
        return None

    def respond(self, status: int, line: bytes, fields: Iterable[HeaderPair], body: bytes) -> None:
        """The whole response at once. Raises ResponseError or ClientGoneError."""
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
        """Begin to stream; ``length``: of the body, when it is known. Raises ResponseError."""
        self._head = self._compose(status, line, fields, length)

    def _compose(
        self, status: int, line: bytes, fields: Iterable[HeaderPair], length: int | None
    ) -> list[bytes]:
        """The head, without the line that ends it."""
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
        if declared is None or declared != length or status in response_head.BODILESS_STATUSES:
            self._frame(parts, declared, length)
        elif self.request.method == "HEAD":
            self.is_bodiless = True
        parts.append(
            DefaultFields.lines
            if self._app_set_fields is None
            else DefaultFields.lines_except(self._app_set_fields)
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
            parts.append(
                response_head.HEAD_END
                if self.request.version == "1.1"
                else response_head.HEAD_END_KEEP_ALIVE
            )
        return parts

    def _add_extra_fields(self, parts: list[bytes]) -> None:
        """The fields that we add, unless the app sent such a one itself."""
        name = self.extra_fields.partition(b":")[0].lower() + b":"
        if not any(part[: len(name)].lower() == name for part in parts):
            parts.append(self.extra_fields)

    def _interpret(self, meaning: int) -> None:
        """A field of the app's that decides something. Raises ResponseError."""
        if meaning >= 0:
            raise ResponseError("the response has two Content-Length fields")
        if meaning in (DATE, SERVER):
            self._app_set_fields = {meaning, *(self._app_set_fields or ())}
        elif meaning == CLOSE:
            self.keep_alive = False

    def _frame(self, parts: list[bytes], declared: int | None, length: int | None) -> None:
        """Decide how the end of the body is told (RFC 9112 section 6)."""
        bodiless = self.status in response_head.BODILESS_STATUSES
        self.is_bodiless = bodiless or self.request.method == "HEAD"
        if bodiless and self.status != 304:
            # No length (RFC 9110 section 8.6), or none but 0 (section 15.3.6).
            parts[:] = [
                part
                for part in parts
                if not part.lower().startswith(response_head.CONTENT_LENGTH_PREFIX)
            ]
            if self.status == 205:
                parts.append(response_head.CONTENT_LENGTH_LINE % 0)
        elif declared is not None:
            self.remaining = declared
            if length is not None and length != declared and not self.is_bodiless:
                self._check_declared_length(declared, length)
        elif bodiless:
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
        """Send 103 Early Hints (RFC 8297), if the client can know them and no answer is out."""
        if (
            lines
            and not self.headers_sent
            and not self.disconnected
            and self.request.version == "1.1"
        ):
            self.connection.transport.write(b"%b%b\r\n" % (response_head.STATUS_LINES[103], lines))

    def send(self, data: bytes) -> None:
        """A piece of the body. Raises ResponseError or ClientGoneError."""
        if self.connection.transport.is_closing():
            # The transport drops what it is given now, and an app that never waits for anything
            # else would not let the loop tell us that the client is gone.
            raise ClientGoneError("the client left before the response ended")
        if not data or self.is_bodiless:
            self.send_headers()
            return
        self.count_body_bytes(len(data))
        self._write(b"%x\r\n%b\r\n" % (len(data), data) if self.is_chunked else data)

    def finish(self, data: bytes = b"", trailers: bytes = b"") -> None:
        """The last piece, and the end; ``trailers``: lines behind a chunked body.

        Raises ResponseError or ClientGoneError.
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
        """So many bytes of the body are sent. Raises ResponseError."""
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
        """End a response that went wrong: as an error page, or by cutting the connection."""
        if self.response_complete or self.disconnected:
            return
        if self.headers_sent:
            self.response_complete = True
            self.connection.abort()
            self.connection.finish_exchange(self)
        else:
            self.send_error(500)

    def reset_response(self) -> None:
        """Another response takes the place of this one, of which nothing is out."""
        self._head, self.remaining, self.is_chunked, self._app_set_fields = None, None, False, None
        self.body_bytes_sent = 0

    def send_error(self, status: int, text: str = "", fields: Iterable[HeaderPair] = ()) -> None:
        """Answer with a line of plain text instead of what was composed so far."""
        self.reset_response()
        line = response_head.STATUS_LINES[status]
        body = (text or line[9:].decode().strip()).encode() + b"\n"
        plain = (b"Content-Type", b"text/plain; charset=utf-8")
        self.respond(status, line, (plain, *fields), body)
