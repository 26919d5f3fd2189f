"""An ASGI app with streams that do not end by themselves. Events are appended to $TOLD."""

import asyncio
import os
from collections.abc import Callable
from typing import Any


def tell(what: str) -> None:
    with open(os.environ["TOLD"], "a") as file:
        print(what, file=file)


async def app(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """The path says how the stream behaves."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    await receive()
    kind = scope["path"].removeprefix("/")
    if kind == "silent":  # nothing of the response is there when the worker leaves
        tell((await receive())["type"])
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b"late"})
        return
    fields = [(b"content-length", b"12")] if kind == "sized" else []
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b"begun;", "more_body": True})
    try:
        await WAYS[kind](receive)
    finally:
        tell(f"finally {kind}")
    await send({"type": "http.response.body", "body": b"ended;"})


async def lifespan(receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    tell("lifespan.shutdown")
    await send({"type": "lifespan.shutdown.complete"})


async def listens(receive: Callable[..., Any]) -> None:
    """Ends its response after a disconnect."""
    tell((await receive())["type"])


async def deaf(_receive: Callable[..., Any]) -> None:
    """Never calls receive."""
    await asyncio.Event().wait()


async def stubborn(_receive: Callable[..., Any]) -> None:
    """Does not let itself be cancelled."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            tell("cancelled")


WAYS = {"listens": listens, "deaf": deaf, "stubborn": stubborn, "sized": listens}
