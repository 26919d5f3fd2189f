"""ASGI 3 over a WebSocket: the call for one connection (asgi.readthedocs.io, WebSocket 2.4).

The app accepts the handshake, closes it (403), or refuses it with a whole response of its own
(extension ``websocket.http.response``). Until then the connection is an HTTP request like any
other. The module needs the library ``websockets``; the master imports it before it forks, see
``import_serving_modules`` in boot.py.

Design
------
- **A draining worker answers pending handshakes with a 503,** unless the app has begun its own
  refusal, and gives the app a disconnect with code 1012 (a successor takes over) or 1001 (the
  service ends). A WebSocket that the app accepted then would be closed in the same turn of the
  loop.
- **An app that returns without closing its WebSocket has failed** (1011), as one that returns
  without a response has.
- **Messages of the library go to our log from WARNING on.** Its own failures matter; at INFO it
  writes several lines for each connection.
"""

import asyncio
import logging
from functools import cache
from typing import Any

from websockets.exceptions import ProtocolError

from prefork.errors import ClientGoneError
from prefork.http.response_head import RETRY_AFTER, ResponseError
from prefork.http.websocket.websocket import (
    ABNORMAL,
    GOING_AWAY,
    INTERNAL_ERROR,
    RESTART,
    WebSocket,
)
from prefork.http.websocket.websocket_handshake import WebSocketHandshake
from prefork.worker import fork_hooks
from prefork.worker.asgi.asgi_call import AsgiCall, CallContext
from prefork.worker.asgi.asgi_extensions import EXTENSIONS
from prefork.worker.asgi.asgi_http import HttpCall

_DENIAL = "websocket.http.response."
_NORMAL = 1000
"""The close code of an app that gives none (RFC 6455 section 7.4.1)."""
_LEAVING = "this worker is leaving; connect again"


def negotiate(handler: CallContext, http: HttpCall) -> "WebSocketCall | None":
    """Validate a request for a WebSocket; return the call for it, or None if it was refused and
    answered."""
    if http.exchange.connection.server.draining:
        http.exchange.send_error(503, _LEAVING, (RETRY_AFTER,))
        return None
    handshake = WebSocketHandshake(http.exchange, _library_log(handler.log))
    return None if handshake.is_refused else WebSocketCall(handler, handshake, http)


@cache
def _library_log(log: logging.Logger) -> logging.Logger:
    """Return the logger for the library ``websockets``: our log, from WARNING on."""
    quiet = logging.Logger("websockets", logging.WARNING)
    quiet.parent = log
    return quiet


class WebSocketCall(AsgiCall):
    """The call of the app for one WebSocket: gives it ``receive`` and ``send``, answers the
    handshake."""

    _websocket: WebSocket | None = None
    _connect_received = False
    _denial_started = False
    _closed_by_app = False
    """The app has sent ``websocket.close``."""
    _rejected_by_drain = False
    """The worker drains, and answered the handshake in the app's place."""
    _decision_waiter: asyncio.Future[None] | None = None
    """Done when the handshake was accepted or answered; made when the app waits for that."""

    def __init__(self, handler: CallContext, handshake: WebSocketHandshake, http: HttpCall) -> None:
        self._handler = handler
        self._handshake = handshake
        self.drain_timeout = http.exchange.connection.server.limits.websocket.close_timeout
        self.exchange = http.exchange
        self._http_call = http
        """The same request as an HTTP call, by which the app may refuse the handshake."""

    async def run(self) -> None:
        """Call the app; make sure that the handshake is answered and the WebSocket closed. Never
        raises."""
        running = self._handler.running
        running.add(self)
        try:
            await self._handler.app(self._scope(), self.receive, self.send)
            if fork_hooks.in_child:
                fork_hooks.exit_child()
            self._check_response()
        except BaseException as error:
            self._end_with_error(error)
        finally:
            running.discard(self)

    def _scope(self) -> dict[str, Any]:
        """Build the scope: that of the HTTP request, with the keys of the websocket scope."""
        scope = self._handler.scope(self.exchange)
        del scope["method"]
        scope["type"] = "websocket"
        scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
        scope["subprotocols"] = self._handshake.subprotocols
        extensions = scope["extensions"]
        scope["extensions"] = {k: v for k, v in extensions.items() if k not in EXTENSIONS}
        scope["extensions"]["websocket.http.response"] = {}
        return scope

    def _check_response(self) -> None:
        """Raise ResponseError when the app returned without an answer or without closing the
        WebSocket."""
        exchange, websocket = self.exchange, self._websocket
        if websocket is None:
            if not exchange.response_complete and not exchange.disconnected:
                what = (
                    "in the middle of its refusal" if self._denial_started else "without an answer"
                )
                raise ResponseError(f"the app returned {what}")
        elif websocket.closed is None:
            raise ResponseError("the app returned without closing its WebSocket")

    async def receive(self) -> dict[str, Any]:
        """Return the next event: ``websocket.connect``, the messages, then
        ``websocket.disconnect``."""
        if not self._connect_received:
            self._connect_received = True
            return {"type": "websocket.connect"}
        while (websocket := self._websocket) is None:
            if self._rejected_by_drain:
                code = GOING_AWAY if self.exchange.connection.server.has_no_successor else RESTART
                return {"type": "websocket.disconnect", "code": code, "reason": ""}
            if self.exchange.disconnected or self.exchange.response_complete:
                return {"type": "websocket.disconnect", "code": ABNORMAL, "reason": ""}
            self._decision_waiter = (
                self._decision_waiter or asyncio.get_running_loop().create_future()
            )
            await asyncio.shield(self._decision_waiter)
        while not websocket.inbox:
            if websocket.closed is not None:
                code, reason = websocket.closed
                return {"type": "websocket.disconnect", "code": code, "reason": reason}
            await websocket.message_waiter()
        message = websocket.pop_message()
        if type(message) is str:
            return {"type": "websocket.receive", "text": message}
        return {"type": "websocket.receive", "bytes": message}

    async def send(self, event: dict[str, Any]) -> None:
        """Send an event of the app. Raises ResponseError or ClientGoneError."""
        websocket = self._websocket
        if websocket is None:
            await self._answer_handshake(event)
        elif event["type"] == "websocket.send":
            if self._closed_by_app:
                raise ResponseError("the app sent a message after it closed its WebSocket")
            text = event.get("text")
            if text is not None:
                websocket.send_text(text)
            else:
                websocket.send_bytes(_bytes(event.get("bytes")))
            if not websocket.flow.is_writable and (waiter := websocket.flow.waiter()):
                await waiter
        elif event["type"] == "websocket.close":
            self._close(websocket, event)
        else:
            raise ResponseError(f"the app sent {event['type']!r} on an open WebSocket")

    async def _answer_handshake(self, event: dict[str, Any]) -> None:
        """Take an event that comes before the WebSocket is open: accept, close, or a part of a
        refusal."""
        event_type, exchange = event["type"], self.exchange
        if exchange.disconnected:
            raise ClientGoneError("the client left before its WebSocket was accepted")
        if self._rejected_by_drain:
            raise ClientGoneError("the worker leaves, and its client was told to connect again")
        if exchange.response_complete:
            raise ResponseError(f"the app sent {event_type!r} after it refused the WebSocket")
        if event_type.startswith(_DENIAL):
            self._denial_started = True
            await self._http_call.send({**event, "type": event_type.removeprefix("websocket.")})
        elif self._denial_started:
            raise ResponseError(f"the app sent {event_type!r} in the middle of its refusal")
        elif event_type == "websocket.accept":
            fields = event.get("headers") or ()
            self._websocket = self._handshake.accept(event.get("subprotocol"), fields)
        elif event_type == "websocket.close":
            exchange.send_error(403)
        else:
            raise ResponseError(f"the app sent {event_type!r} before it accepted the WebSocket")
        if self._websocket is not None or exchange.response_complete:
            self.disconnect()

    def _close(self, websocket: WebSocket, event: dict[str, Any]) -> None:
        """Take ``websocket.close``. A WebSocket that is closed already, by its client or by the
        draining worker, is no mistake of the app."""
        if self._closed_by_app:
            raise ResponseError("the app closed its WebSocket twice")
        code = event.get("code")
        code = _NORMAL if code is None else code
        try:
            websocket.close(code, event.get("reason") or "")
        except ProtocolError as error:
            raise ResponseError(f"the app cannot close with {code!r}: {error}") from error
        self._closed_by_app = True

    def begin_drain(self) -> None:
        """Answer a pending handshake with 503.

        A WebSocket that the app accepts now would be closed at once, and an app that never answers
        would hold the worker.
        """
        exchange = self.exchange
        if not (
            self._websocket
            or self._denial_started
            or exchange.response_complete
            or exchange.disconnected
        ):
            self._rejected_by_drain = True
            exchange.send_error(503, _LEAVING, (RETRY_AFTER,))
            self.disconnect()

    def disconnect(self) -> None:
        """Wake the app that waits in ``receive`` for the end of the handshake."""
        if self._decision_waiter is not None and not self._decision_waiter.done():
            self._decision_waiter.set_result(None)

    def _end_with_error(self, error: BaseException) -> None:
        """Log the app's error; answer the handshake with 500, or close the WebSocket with 1011."""
        exchange, websocket = self.exchange, self._websocket
        what = f"WebSocket {exchange.request.target[:200].decode('latin-1')}"
        over = exchange.disconnected or self._rejected_by_drain
        if websocket is not None:
            over = websocket.closed is not None
        self._log_failure(what, error, quiet=over and not self._closed_by_app)
        if websocket is None:
            exchange.fail()
        else:
            websocket.close(INTERNAL_ERROR, "")


def _bytes(data: object) -> bytes | bytearray | memoryview:
    """Return ``data`` if it is bytes-like. Raises ResponseError."""
    if isinstance(data, bytes | bytearray | memoryview):
        return data
    raise ResponseError(f"the app sent {type(data).__name__} where text or bytes belong")
