"""ASGI 3 over an Exchange: the call for an HTTP request (asgi.readthedocs.io, HTTP 2.5).

``send`` waits while the client reads slower than the app writes. ``receive`` reads from the socket
only as fast as the app takes the body.

Design
------
- **Header names are sent in small letters, whatever the app wrote** (RFC 9110 section 5.1: names
  are case-insensitive; ASGI asks apps for small letters).
- **Text instead of bytes is a 500.** It is a bug of the app, and guessing an encoding would hide
  it.
- **The loop has a turn after 32 events without a wait,** else an app that sends or receives in a
  loop would keep all other clients waiting. uvicorn and hypercorn have no such turn.
- **Events after the end of a response are ignored,** as the specification says.
- **A response that the app leaves unfinished is cut off,** because a proper end would make the
  client take a part for the whole.
"""

import asyncio
from typing import Any

from prefork.errors import ClientGoneError
from prefork.http.exchange import Exchange
from prefork.http.response_head import STATUS_LINES, ResponseError
from prefork.worker.asgi.asgi_call import AsgiCall, CallContext
from prefork.worker.asgi.asgi_extensions import (
    EXTENSIONS,
    Trailers,
    send_hint,
    send_path,
    wants_trailers,
)

MAX_IMMEDIATE_EVENTS = 32
"""Events of one call after which the loop has a turn."""


class HttpCall(AsgiCall):
    """The call of the app for one HTTP request: gives it ``receive`` and ``send``, sends its
    response."""

    _immediate_events = 0
    """Events for which the app did not have to wait."""
    _status = 0
    _fields: Any = ()
    _awaits_first_body = False
    """The response has started, and the next body event is its first."""
    _streaming_started = False
    _body_read = False
    _trailers: Trailers | None = None
    """Set when the app announced trailers and the client accepts them."""
    _disconnect_waiter: asyncio.Future[None] | None = None
    """Done when ``receive`` may return ``http.disconnect``; made when the app waits for that."""

    def __init__(self, handler: CallContext, exchange: Exchange) -> None:
        self._handler = handler
        self.exchange = exchange

    def set_progress(self, status: int, fields: Any, body_read: bool) -> None:
        """Set how far the app has come; ``status``: 0 if it has not begun its response."""
        if status:
            self._status, self._fields = status, fields
            self._awaits_first_body = not self.exchange.response_complete
        self._body_read = body_read

    async def run(self) -> None:
        """Call the app and make sure that the request is answered. Never raises."""
        scope = self._handler.scope
        try:
            await self._handler.app(scope(self.exchange), self.receive, self.send)
        except BaseException as error:
            self.end(error)
        else:
            self.end(None)

    def end(self, error: BaseException | None) -> None:
        """Make sure that the request is answered after the app returned or raised. Never raises."""
        exchange = self.exchange
        try:
            if error is None and not exchange.response_complete and not exchange.disconnected:
                what = "in the middle of its response" if self._status else "without a response"
                error = ResponseError(f"the app returned {what}")
            if isinstance(error, ClientGoneError):
                exchange.fail()
            elif error is not None:
                self._end_with_error(error)
        finally:
            if self.task is not None:
                self._handler.running.discard(self)
                # A reference cycle (call - exchange) would live until the garbage collector runs.
                exchange.call = None

    async def receive(self) -> dict[str, Any]:
        """Return the next event of the request: its body in pieces, then ``http.disconnect``.

        The disconnect comes when the client left, when the response is complete, or when the worker
        drains and ends the call.
        """
        exchange = self.exchange
        if (
            not self._body_read
            and not exchange.response_complete
            and self.drain_notified_at is None
        ):
            body = exchange.body
            if body is None:
                self._body_read = True
                return {"type": "http.request", "body": b"", "more_body": False}
            taken = body.read_nowait()  # type: ignore[union-attr]
            try:
                data, more = taken or await body.read()  # type: ignore[union-attr]
            except ClientGoneError:
                return {"type": "http.disconnect"}
            self._body_read = not more
            # The wait for the client's bytes is over: the app's time counts anew from here.
            exchange.app_called_at = exchange.connection.server.clock.now
            return {"type": "http.request", "body": data, "more_body": more}
        if (
            not exchange.disconnected
            and not exchange.response_complete
            and self.drain_notified_at is None
        ):
            self._disconnect_waiter = (
                self._disconnect_waiter or asyncio.get_running_loop().create_future()
            )
            await asyncio.shield(self._disconnect_waiter)
        if self._is_turn_due():
            await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    def _is_turn_due(self) -> bool:
        """Count an event, and return whether the loop is to have a turn now."""
        self._immediate_events += 1
        return self._immediate_events % MAX_IMMEDIATE_EVENTS == 0

    async def send(self, message: dict[str, Any]) -> None:
        """Send an event of the response.

        Raises ResponseError when the app breaks the protocol, and ClientGoneError (an OSError, as
        the specification asks) when the client has left.
        """
        event_type = message["type"]
        exchange = self.exchange
        if event_type == "http.response.start":
            self._begin_response(message)
        elif event_type == "http.response.body":
            data, more = message.get("body", b""), message.get("more_body", False)
            # The usual case first: the whole body in one event is one write with its head.
            if self._awaits_first_body and not more and type(data) is bytes:
                status = self._status
                exchange.respond(status, STATUS_LINES[status], self._fields, data)
                self._awaits_first_body = False
            else:
                self._send_body(exchange, data, more)
            if not exchange.response_complete:
                await self._wait_writable()
            elif self._disconnect_waiter is not None or (
                exchange.body is not None and not self._body_read
            ):
                self.disconnect()
        else:
            await self._send_extension(event_type, message)
        if self._is_turn_due():
            await asyncio.sleep(0)

    def _begin_response(self, message: dict[str, Any]) -> None:
        """Take ``http.response.start``. Nothing is sent before the first body event."""
        if self._status or self.exchange.response_complete:
            self._reject_second_start()
            return
        status = message["status"]
        if status not in STATUS_LINES or status < 200:
            raise ResponseError(f"the status must be from 200 to 599, not {status!r}")
        self._status = status
        self._fields = message.get("headers", ())
        self._awaits_first_body = True
        if "trailers" in message:
            self._expect_trailers(message["trailers"])

    async def _wait_writable(self) -> None:
        """Wait while the client reads slower than the app writes."""
        exchange = self.exchange
        if (waiter := exchange.sink.flow.waiter()) is not None:
            await waiter
        elif exchange.is_bodiless or exchange.connection.peer.tls is not None:
            # A turn of the loop, so that an endless response notices its end. Without a body
            # (HEAD) no full buffer makes the app wait; and TLS accepts data for a client that has
            # left, and reports the loss only when the loop has had its turn.
            await asyncio.sleep(0)

    def _reject_second_start(self) -> None:
        """Raise for a second ``http.response.start``; after the end of the response it
        is ignored."""
        if self.exchange.disconnected:
            raise ClientGoneError("the client left before the response ended")
        if not self.exchange.response_complete:
            raise ResponseError("the app began its response twice")

    def _send_body(self, exchange: Exchange, data: bytes, more: bool) -> None:
        """Send a body event that is not the whole response: check it, start the stream,
        pass it on."""
        if exchange.disconnected:
            raise ClientGoneError("the client left before the response ended")
        if exchange.response_complete:
            return
        if not self._status:
            raise ResponseError("the app sent a body before the response")
        if type(data) is not bytes:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise ResponseError(f"the app sent {type(data).__name__} where bytes belong")
            data = bytes(data)
        if not self._streaming_started:
            line = STATUS_LINES[self._status]
            if not more and self._trailers is None:
                exchange.respond(self._status, line, self._fields, data)
                return
            exchange.start_response(self._status, line, self._fields, None)
            self._streaming_started = True
            self._awaits_first_body = False
        if more or self._trailers is not None:
            exchange.send(data)
            exchange.send_headers()
        else:
            exchange.finish(data)

    async def _send_extension(self, event_type: str, message: dict[str, Any]) -> None:
        """Send an event of an extension that the scope announces. Raises as ``send`` does."""
        exchange = self.exchange
        if event_type not in EXTENSIONS:
            raise ResponseError(f"the app sent {event_type!r}, which the http scope does not know")
        if exchange.disconnected:
            raise ClientGoneError("the client left before the response ended")
        if exchange.response_complete:
            return
        if event_type == "http.response.early_hint":
            send_hint(exchange, message)
        elif event_type == "http.response.pathsend":
            await self._send_path(exchange, message["path"])
        elif self._streaming_started and self._trailers is not None:
            self._trailers.add(message.get("headers", ()))
            if not message.get("more_trailers", False):
                self._finish_response(self._trailers.encoded)
        else:
            raise ResponseError("the app sent trailers that it had not announced at its start")

    async def _send_path(self, exchange: Exchange, path: str) -> None:
        """Send the file at ``path`` as the whole body (``http.response.pathsend``)."""
        if not self._status or self._streaming_started:
            raise ResponseError("a file must be sent after the start, and as the whole body")
        self._streaming_started, self._awaits_first_body = True, False
        chunked = self._trailers is not None
        await send_path(exchange, self._status, self._fields, path, chunked)
        if not chunked:
            self._finish_response()

    def _expect_trailers(self, trailers: bool) -> None:
        """Prepare for trailers, if the app announced them and the client accepts them."""
        if trailers and wants_trailers(self.exchange.request):
            self._awaits_first_body = False
            self._trailers = Trailers(self._fields)
            self._fields = self._trailers.head_fields

    def _finish_response(self, trailers: bytes = b"") -> None:
        """End the response; ``trailers``: encoded lines that follow the body."""
        self.exchange.finish(b"", trailers)
        self.disconnect()

    @property
    def is_streaming(self) -> bool:
        """Return whether the call is in the middle of a response of unknown length."""
        exchange = self.exchange
        return (
            exchange.status != 0 and exchange.remaining is None and not exchange.response_complete
        )

    def notify_drain(self) -> None:
        """Let ``receive`` return ``http.disconnect``. What the app still sends reaches
        its client."""
        self.disconnect()

    def disconnect(self) -> None:
        """Let ``receive`` return ``http.disconnect``: the client has left or the response is
        complete."""
        if self._disconnect_waiter is not None and not self._disconnect_waiter.done():
            self._disconnect_waiter.set_result(None)
        if self.exchange.body is not None and not self._body_read:
            self.exchange.body.discard()  # wakes another task of the app that reads it

    def _end_with_error(self, error: BaseException) -> None:
        """Log the app's error and answer 500, or cut off the response that has begun."""
        exchange = self.exchange
        # The app may notice that its client left before the connection does: its send finds the
        # transport closing.
        closing = not exchange.response_complete and exchange.sink.is_closing()
        quiet = exchange.disconnected or closing or self.drain_notified_at is not None
        self._log_failure(exchange.request.describe(), error, quiet)
        exchange.fail()
