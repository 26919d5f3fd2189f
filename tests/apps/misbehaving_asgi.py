"""ASGI apps that break HTTP, ASGI or themselves; the path is the name of the function."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[Any], Awaitable[None]]

START = {"type": "http.response.start", "status": 200}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Call the function that the path names."""
    if scope["type"] != "http":
        raise NotImplementedError
    await globals()[scope["path"].removeprefix("/")](receive, send)


def start(*headers: Any, status: Any = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: Any, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def pid(receive: Receive, send: Send) -> None:
    await send(START)
    await send(body(b"%d" % os.getpid()))


async def raises_at_once(receive: Receive, send: Send) -> None:
    raise ValueError("at once")


async def raises_after_start(receive: Receive, send: Send) -> None:
    await send(START)
    raise ValueError("after start")


async def raises_after_bytes(receive: Receive, send: Send) -> None:
    await send(START)
    await send(body(b"some", more=True))
    raise ValueError("after bytes")


async def raises_after_all(receive: Receive, send: Send) -> None:
    await send(START)
    await send(body(b"fine"))
    raise ValueError("after all")


async def raises_a_group(receive: Receive, send: Send) -> None:
    raise ExceptionGroup("several", [ValueError("one"), ValueError("two")])


async def exits(receive: Receive, send: Send) -> None:
    sys.exit(3)


async def exits_after_bytes(receive: Receive, send: Send) -> None:
    await send(START)
    await send(body(b"some", more=True))
    await asyncio.sleep(0)
    sys.exit(3)


async def interrupts(receive: Receive, send: Send) -> None:
    raise KeyboardInterrupt


async def cancels(receive: Receive, send: Send) -> None:
    raise asyncio.CancelledError


async def cancels_itself(receive: Receive, send: Send) -> None:
    task = asyncio.current_task()
    assert task
    task.cancel()
    await asyncio.sleep(10)


async def returns_at_once(receive: Receive, send: Send) -> None:
    return


async def returns_after_start(receive: Receive, send: Send) -> None:
    await send(START)


async def returns_after_bytes(receive: Receive, send: Send) -> None:
    await send(START)
    await send(body(b"some", more=True))


async def starts_twice(receive: Receive, send: Send) -> None:
    await send(START)
    await send(START)


async def starts_again_after_bytes(receive: Receive, send: Send) -> None:
    await send(START)
    await send(body(b"some", more=True))
    await send(START)


async def body_before_start(receive: Receive, send: Send) -> None:
    await send(body(b"x"))


async def body_after_all(receive: Receive, send: Send) -> None:
    await send(START)
    await send(body(b"fine"))
    await send(body(b"more"))


async def too_short(receive: Receive, send: Send) -> None:
    await send(start((b"content-length", b"10")))
    await send(body(b"short"))


async def too_short_in_pieces(receive: Receive, send: Send) -> None:
    await send(start((b"content-length", b"10")))
    await send(body(b"sho", more=True))
    await send(body(b"rt"))


async def too_long(receive: Receive, send: Send) -> None:
    await send(start((b"content-length", b"3")))
    await send(body(b"too long"))


async def too_long_in_first_piece(receive: Receive, send: Send) -> None:
    await send(start((b"content-length", b"3")))
    await send(body(b"too long", more=True))


async def length_no_number(receive: Receive, send: Send) -> None:
    await send(start((b"content-length", b"many")))
    await send(body(b"x"))


async def lengths_differ(receive: Receive, send: Send) -> None:
    await send(start((b"content-length", b"1"), (b"content-length", b"2")))
    await send(body(b"x"))


async def line_end_in_value(receive: Receive, send: Send) -> None:
    await send(start((b"x-a", b"b\r\nset-cookie: evil")))
    await send(body(b"x"))


async def lf_in_value(receive: Receive, send: Send) -> None:
    await send(start((b"x-a", b"b\nset-cookie: evil")))
    await send(body(b"x"))


async def line_end_in_name(receive: Receive, send: Send) -> None:
    await send(start((b"x-a: b\r\nset-cookie", b"evil")))
    await send(body(b"x"))


async def space_in_name(receive: Receive, send: Send) -> None:
    await send(start((b"x a", b"b")))
    await send(body(b"x"))


async def value_no_bytes(receive: Receive, send: Send) -> None:
    await send(start((b"x-a", 5)))
    await send(body(b"x"))


async def header_of_three(receive: Receive, send: Send) -> None:
    await send(start((b"x-a", b"b", b"c")))
    await send(body(b"x"))


async def headers_no_list(receive: Receive, send: Send) -> None:
    await send({**START, "headers": 5})
    await send(body(b"x"))


async def status_text(receive: Receive, send: Send) -> None:
    await send(start(status="200"))
    await send(body(b"x"))


async def status_none(receive: Receive, send: Send) -> None:
    await send(start(status=None))
    await send(body(b"x"))


async def status_unhashable(receive: Receive, send: Send) -> None:
    await send(start(status=[200]))
    await send(body(b"x"))


async def status_interim(receive: Receive, send: Send) -> None:
    await send(start(status=101))
    await send(body(b"x"))


async def status_too_high(receive: Receive, send: Send) -> None:
    await send(start(status=1000))
    await send(body(b"x"))


async def status_missing(receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start"})
    await send(body(b"x"))


async def body_text(receive: Receive, send: Send) -> None:
    await send(START)
    await send(body("text"))


async def body_none(receive: Receive, send: Send) -> None:
    await send(START)
    await send(body(None))


async def body_text_after_bytes(receive: Receive, send: Send) -> None:
    await send(START)
    await send(body(b"some", more=True))
    await send(body("text"))


async def type_unknown(receive: Receive, send: Send) -> None:
    await send({"type": "http.response.unknown"})


async def type_of_websocket(receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept"})


async def type_missing(receive: Receive, send: Send) -> None:
    await send({"status": 200})


async def message_none(receive: Receive, send: Send) -> None:
    await send(None)


async def recurses(receive: Receive, send: Send) -> None:
    await recurses(receive, send)
