"""The ASGI applications that every peer serves: those of `wsgi_apps`, and a WebSocket echo.

Each handles the lifespan itself, because a wrapper would cost one more call per request.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from wsgi_apps import HELLO, TEXT_1M, TEXT_10K

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


def _headers(kind: bytes, length: int) -> Headers:
    return [(b"content-type", kind), (b"content-length", b"%d" % length)]


HELLO_HEADERS = _headers(b"text/plain", len(HELLO))
HEADERS_10K = _headers(b"text/plain", len(TEXT_10K))
HEADERS_1M = _headers(b"text/plain", len(TEXT_1M))


async def hello(scope: Message, receive: Receive, send: Send) -> None:
    """Answer 13 bytes."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": HELLO_HEADERS})
    await send({"type": "http.response.body", "body": HELLO})


async def response_10k(scope: Message, receive: Receive, send: Send) -> None:
    """Answer 10 KB."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS_10K})
    await send({"type": "http.response.body", "body": TEXT_10K})


async def response_1m(scope: Message, receive: Receive, send: Send) -> None:
    """Answer 1 MB."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS_1M})
    await send({"type": "http.response.body", "body": TEXT_1M})


async def json_echo(scope: Message, receive: Receive, send: Send) -> None:
    """Parse the JSON body and answer with the same objects, serialized again."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    received, more = b"", True
    while more:
        message = await receive()
        received += message.get("body", b"")
        more = message.get("more_body", False)
    body = json.dumps(json.loads(received), separators=(",", ":")).encode()
    headers = _headers(b"application/json", len(body))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def upload(scope: Message, receive: Receive, send: Send) -> None:
    """Receive the body, discard it, and answer with its length."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    length, more = 0, True
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"%d" % length
    headers = _headers(b"text/plain", len(body))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def websocket_echo(scope: Message, receive: Receive, send: Send) -> None:
    """Send each text message back."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
