"""ASGI apps with different lifespans. Each appends its events to the file $RECORD."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


def note(text: str) -> None:
    """Append one line to the record."""
    with open(os.environ["RECORD"], "a") as file:
        file.write(text + "\n")


async def appears(path: str) -> None:
    """Wait until a test makes this file."""
    while not os.path.exists(path):
        await asyncio.sleep(0.005)


async def reply(send: Send, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})


async def app(scope: Event, receive: Receive, send: Send) -> None:
    """Starts up with state and shuts down. ``/background`` goes on after its response."""
    if scope["type"] == "lifespan":
        assert (await receive())["type"] == "lifespan.startup"
        scope["state"]["made at startup"] = {"shared": 0}
        note("startup")
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        note("shutdown")
        await send({"type": "lifespan.shutdown.complete"})
        note("end")
        return
    state = scope["state"]
    state["made at startup"]["shared"] += 1
    keys = sorted(state)
    state[f"made by {scope['path']}"] = True
    await reply(send, f"{keys} {state['made at startup']}".encode())
    if scope["path"] == "/background":
        await appears(os.environ["RECORD"] + ".go")
        note("background")


async def slow(scope: Event, receive: Receive, send: Send) -> None:
    """Starts up when the test lets it."""
    if scope["type"] == "lifespan":
        await receive()
        note("starting")
        await appears(os.environ["RECORD"] + ".go")
        note("started")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await reply(send, b"slow")


async def fails(scope: Event, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is away"})


async def fails_silently(scope: Event, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed"})


async def raises(scope: Event, receive: Receive, send: Send) -> None:
    await receive()
    raise LookupError("the database is away")


async def exits(scope: Event, receive: Receive, send: Send) -> None:
    await receive()
    raise SystemExit("the database is away")


async def talks_nonsense(scope: Event, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.whatever"})


async def refuses(scope: Event, receive: Receive, send: Send) -> None:
    """Does not support lifespan, and raises, as Django does."""
    if scope["type"] != "http":
        raise ValueError(f"can only handle http, not {scope['type']}")
    await reply(send, str("state" in scope).encode())


async def ignores(scope: Event, receive: Receive, send: Send) -> None:
    """Does not support lifespan, and returns from it at once."""
    if scope["type"] == "http":
        await reply(send, b"ignored")


async def dies_later(scope: Event, receive: Receive, send: Send) -> None:
    """Its lifespan ends while it serves."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise LookupError("died later")
    await reply(send, b"alive")


async def shutdown_raises(scope: Event, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise LookupError("cannot say goodbye")
    await reply(send, b"alive")


async def shutdown_fails(scope: Event, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "cannot say goodbye"})
        return
    await reply(send, b"alive")
