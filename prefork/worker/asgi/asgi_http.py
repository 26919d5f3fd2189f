"""ASGI 3 over an Exchange: the http scope (asgi.readthedocs.io, HTTP 2.5).

Sending waits while the client reads slower than the app writes; receiving stops reading from the
socket while the app lags.
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


class HttpCall(AsgiCall):
    """One request: the scope, receive and send that the app gets."""

    _status = 0
    _fields: Any = ()
    _awaits_first_body = False
    """The response has started, and the next body is its first."""
    _streaming_started = False
    _body_read = False
    _trailers: Trailers | None = None
    """They are to come, and the client wants them."""
    _disconnect_waiter: asyncio.Future[None] | None = None

    def __init__(self, handler: CallContext, exchange: Exchange) -> None:
        self._handler = handler
        self.exchange = exchange

    async def run(self) -> None:
        """Call the app and see to it that the request is answered. Never raises."""
        exchange = self.exchange
        try:
            await self._handler.app(self._handler.scope(exchange), self.receive, self.send)
            if not exchange.response_complete and not exchange.disconnected:
                what = "in the middle of its response" if self._status else "without a response"
                raise ResponseError(f"the app returned {what}")
        except ClientGoneError:
            exchange.fail()
        except BaseException as error:
            self._end_with_error(error)
        finally:
            if self.task is not None:
                self._handler.running.discard(self)
                exchange.handler_state = None  # which is us: a ring would wait for the collector

    async def receive(self) -> dict[str, Any]:
        """The next event of the request: its body in pieces, then the disconnect."""
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
            exchange.app_called_at = exchange.connection.server.now
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
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        """An event of the response. Raises ResponseError or ClientGoneError."""
        event_type = message["type"]
        exchange = self.exchange
        if event_type == "http.response.start":
            self._begin_response(message)
        elif event_type == "http.response.body":
            data, more = message.get("body", b""), message.get("more_body", False)
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

    def _begin_response(self, message: dict[str, Any]) -> None:
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
        connection = self.exchange.connection
        if (waiter := connection.writable_waiter()) is not None:
            await waiter
        elif self.exchange.is_bodiless or connection.peer.tls is not None:
            # Nothing is sent, so no full buffer makes the app wait; or TLS swallows what is
            # sent to a client that is gone, and does not tell before the loop has had its turn.
            await asyncio.sleep(0)

    def _reject_second_start(self) -> None:
        if self.exchange.disconnected:
            raise ClientGoneError("the client left before the response ended")
        if not self.exchange.response_complete:
            raise ResponseError("the app began its response twice")

    def _send_body(self, exchange: Exchange, data: bytes, more: bool) -> None:
        if exchange.disconnected:
            raise ClientGoneError("the client left before the response ended")
        if exchange.response_complete:
            return  # what comes after the end is ignored
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
        if not self._status or self._streaming_started:
            raise ResponseError("a file must be sent after the start, and as the whole body")
        self._streaming_started, self._awaits_first_body = True, False
        chunked = self._trailers is not None
        await send_path(exchange, self._status, self._fields, path, chunked)
        if not chunked:
            self._finish_response()

    def _expect_trailers(self, trailers: bool) -> None:
        if trailers and wants_trailers(self.exchange.request):
            self._awaits_first_body = False
            self._trailers = Trailers(self._fields)
            self._fields = self._trailers.head_fields

    def _finish_response(self, trailers: bytes = b"") -> None:
        self.exchange.finish(b"", trailers)
        self.disconnect()

    @property
    def is_streaming(self) -> bool:
        """Whether it is in the middle of a response of unknown length."""
        exchange = self.exchange
        return (
            exchange.status != 0 and exchange.remaining is None and not exchange.response_complete
        )

    def notify_drain(self) -> None:
        """``http.disconnect``, although the client still gets what the app sends."""
        self.disconnect()

    def disconnect(self) -> None:
        """There is nobody to answer any more, or nothing left to answer."""
        if self._disconnect_waiter is not None and not self._disconnect_waiter.done():
            self._disconnect_waiter.set_result(None)
        if self.exchange.body is not None and not self._body_read:
            self.exchange.body.discard()  # another task may wait for more of it

    def _end_with_error(self, error: BaseException) -> None:
        exchange = self.exchange
        # It may know before us that its client left, when a send finds the transport closing.
        closing = not exchange.response_complete and exchange.connection.transport.is_closing()
        quiet = exchange.disconnected or closing or self.drain_notified_at is not None
        self._log_failure(exchange.request.describe(), error, quiet)
        exchange.fail()
