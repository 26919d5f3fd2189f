"""Bodies of any size, both ways, and how far the app has come.

``/produce/BYTES`` sends, ``/consume`` reads. ``/progress`` answers with the bytes that the app has
sent or read since the request began.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

PIECE = b"x" * 65536

progress = 0
hurry = threading.Event()


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The first part of the path says what to do."""
    global progress  # noqa: PLW0603
    what, _, argument = environ["PATH_INFO"].removeprefix("/").partition("/")
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    if what == "produce":
        return _produce(int(argument))
    if what == "consume":
        progress = 0
        while piece := environ["wsgi.input"].read(65536):
            progress += len(piece)
    return [b"%d" % progress]


def _produce(size: int) -> Iterator[bytes]:
    global progress  # noqa: PLW0603
    progress = 0
    while progress < size:
        piece = PIECE[: size - progress]
        progress += len(piece)
        yield piece


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """The same in ASGI. ``/linger`` consumes, but slowly until a request for ``/hurry`` comes."""
    global progress  # noqa: PLW0603
    if scope["type"] != "http":
        raise NotImplementedError
    what, _, argument = scope["path"].removeprefix("/").partition("/")
    if what == "hurry":
        hurry.set()
    if what in ("consume", "linger"):
        await _consume(receive, slowly=what == "linger")
    await send({"type": "http.response.start", "status": 200})
    if what == "produce":
        progress = 0
        while progress < int(argument):
            piece = PIECE[: int(argument) - progress]
            progress += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})
        return
    await send({"type": "http.response.body", "body": b"%d" % progress})


async def _consume(receive: Callable[[], Awaitable[dict[str, Any]]], slowly: bool) -> None:
    global progress  # noqa: PLW0603
    progress, more = 0, True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        progress += len(event["body"])
        more = event["more_body"]
        while slowly and not hurry.is_set():
            await asyncio.sleep(0.01)
