"""An ASGI app with one path for each thing that a WebSocket can go through.

Other requests go to web_asgi, which also reports the events and opens the gates.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import web_asgi
from web_asgi import PATIENCE, Event, Receive, Scope, Send, events, gates


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The first part of the path chooses, the rest is its argument."""
    if scope["type"] != "websocket":
        await web_asgi.app(scope, receive, send)
        return
    name, _, argument = scope["path"].removeprefix("/").partition("/")
    await SOCKETS[name](Socket(scope, receive, send), argument)


class Socket:
    """One WebSocket, with the usual shortcuts."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.raw = send

    async def accept(self, **more: Any) -> None:
        event = await self.receive()
        assert event == {"type": "websocket.connect"}, event
        await self.raw({"type": "websocket.accept", **more})

    async def send(self, message: str | bytes) -> None:
        kind = "text" if isinstance(message, str) else "bytes"
        await self.raw({"type": "websocket.send", kind: message})

    async def close(self, **more: Any) -> None:
        await self.raw({"type": "websocket.close", **more})

    async def message(self) -> str | bytes | None:
        """The next one; None at the end, which is noted."""
        event = await self.receive()
        if event["type"] == "websocket.disconnect":
            note(self.scope, f"{event['code']} {event['reason']}".strip())
            return None
        assert event["type"] == "websocket.receive"
        text: str | None = event.get("text")
        return text if text is not None else event["bytes"]


def note(scope: Scope, what: str) -> None:
    events.append(f"{what} {scope['path']}")


async def gate(name: str) -> None:
    async with asyncio.timeout(PATIENCE):
        await gates[name].wait()


async def echo(socket: Socket, _argument: str) -> None:
    """Every message back."""
    await socket.accept()
    while (message := await socket.message()) is not None:
        await socket.send(message)


async def scope(socket: Socket, _argument: str) -> None:
    """The scope, with bytes as text."""
    await socket.accept()
    await socket.send(json.dumps(socket.scope, default=lambda value: value.decode("latin-1")))
    await socket.close()


async def accepted(socket: Socket, _argument: str) -> None:
    """Accept with the arguments that the query names."""
    query = socket.scope["query_string"].decode()
    await socket.accept(**ACCEPTANCES[query])
    await socket.close()


ACCEPTANCES: dict[str, dict[str, Any]] = {
    "subprotocol": {"subprotocol": "two"},
    "stranger": {"subprotocol": "three"},
    "headers": {
        "headers": [
            (b"X-One", b"1"),
            [b"x-two", b"2"],
            (b"Content-Length", b"7"),
            (b"Connection", b"close"),
            (b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
        ]
    },
    "newline": {"headers": [(b"X-One", b"1\r\nX-Two: 2")]},
    "own": {"headers": [(b"Sec-WebSocket-Accept", b"mine")]},
}


async def forbidden(socket: Socket, _argument: str) -> None:
    """Close before it is accepted."""
    await socket.receive()
    await socket.close()
    note(socket.scope, (await socket.receive())["type"])


async def refused(socket: Socket, argument: str) -> None:
    """A whole response instead of a WebSocket, in two pieces."""
    start = {"status": int(argument), "headers": [(b"X-Why", b"not now")]}
    await socket.raw({"type": "websocket.http.response.start", **start})
    for body, more in ((b"not ", True), (b"now", False)):
        await socket.raw({"type": "websocket.http.response.body", "body": body, "more_body": more})


async def half_refused(socket: Socket, _argument: str) -> None:
    """The beginning of a refusal."""
    await socket.raw({"type": "websocket.http.response.start", "status": 401, "headers": []})


async def fails_early(socket: Socket, argument: str) -> None:
    """Raise, or return, instead of an answer."""
    if argument == "raise":
        raise LookupError("before the answer")


async def fails_late(socket: Socket, argument: str) -> None:
    """Raise, or return, with the WebSocket open."""
    await socket.accept()
    await socket.send("open")
    if argument == "raise":
        raise LookupError("after the answer")


async def closes(socket: Socket, argument: str) -> None:
    """Close with a code; then one more event."""
    await socket.accept()
    await socket.close(code=int(argument), reason="because of " + argument)
    await socket.message()


async def closes_plainly(socket: Socket, _argument: str) -> None:
    """Close without a code and a reason."""
    await socket.accept()
    await socket.close()


async def wrong(socket: Socket, argument: str) -> None:
    """Send an invalid event, chosen by name."""
    await socket.accept()
    await WRONGS[argument](socket)


WRONGS: dict[str, Callable[[Socket], Awaitable[None]]] = {
    "again": lambda socket: socket.raw({"type": "websocket.accept"}),
    "nothing": lambda socket: socket.raw({"type": "websocket.send"}),
    "number": lambda socket: socket.raw({"type": "websocket.send", "bytes": 7}),
    "surrogate": lambda socket: socket.send("\ud800"),
    "code": lambda socket: socket.close(code=1005),
    "reason": lambda socket: socket.close(reason="x" * 124),
    "http": lambda socket: socket.raw({"type": "http.response.start", "status": 200}),
}


async def after_close(socket: Socket, _argument: str) -> None:
    """Send after one's own close."""
    await socket.accept()
    await socket.close()
    await socket.send("too late")


async def pushes(socket: Socket, argument: str) -> None:
    """So many messages at once, each with its number."""
    await socket.accept()
    for number in range(int(argument)):
        await socket.send(str(number))
    await socket.close()


async def floods(socket: Socket, argument: str) -> None:
    """Messages without an end; how many is noted."""
    await socket.accept()
    message, sent = "x" * int(argument), 0
    try:
        while True:
            await socket.send(message)
            sent += 1
    except OSError:
        note(socket.scope, f"sent {sent}")


async def listens_late(socket: Socket, argument: str) -> None:
    """Take nothing before the gate opens; then tell the number and the size of all messages."""
    await socket.accept()
    await gate(argument)
    number = size = 0
    while (message := await socket.message()) not in (None, "end"):
        number += 1
        size += len(message or "")
    await socket.send(f"{number} {size}")
    await socket.close()


async def accepts_late(socket: Socket, argument: str) -> None:
    """Accept when the gate opens; meanwhile another task waits for an event."""
    assert (await socket.receive())["type"] == "websocket.connect"
    first: asyncio.Task[Event] = asyncio.ensure_future(socket.receive())  # type: ignore[arg-type]
    await gate(argument)
    await socket.raw({"type": "websocket.accept"})
    await socket.send((await first)["text"])
    await socket.close()


async def undecided(socket: Socket, _argument: str) -> None:
    """Wait for an event before accepting."""
    assert (await socket.receive())["type"] == "websocket.connect"
    note(socket.scope, "begun")
    event = await socket.receive()
    note(socket.scope, f"{event['type']} {event['code']}")
    try:
        await socket.raw({"type": "websocket.accept"})
    except OSError:
        note(socket.scope, "OSError")
        raise


async def never(socket: Socket, argument: str) -> None:
    """Neither accept nor refuse."""
    try:
        await asyncio.Event().wait()
    finally:
        note(socket.scope, "cancelled")


async def generation(socket: Socket, _argument: str) -> None:
    """Send the generation of the worker; then receive until the end."""
    await socket.accept()
    await socket.send(os.environ["PREFORK_GENERATION"])
    while await socket.message() is not None:
        pass


async def waits_elsewhere(socket: Socket, _argument: str) -> None:
    """Wait for something that never happens, and not for the end."""
    await socket.accept()
    await asyncio.Event().wait()


async def two_readers(socket: Socket, _argument: str) -> None:
    """Two tasks wait for messages, one more gives up."""
    await socket.accept()
    readers = [asyncio.ensure_future(socket.message()) for _ in range(3)]
    await asyncio.sleep(0)
    readers[1].cancel()
    await socket.send("ready")
    got = sorted([str(await readers[0]), str(await readers[2])])
    await socket.send(" ".join(got))
    await socket.close()


SOCKETS: dict[str, Callable[[Socket, str], Awaitable[None]]] = {
    "echo": echo,
    "scope": scope,
    "accepted": accepted,
    "forbidden": forbidden,
    "refused": refused,
    "half_refused": half_refused,
    "fails_early": fails_early,
    "fails_late": fails_late,
    "closes": closes,
    "closes_plainly": closes_plainly,
    "wrong": wrong,
    "after_close": after_close,
    "pushes": pushes,
    "floods": floods,
    "listens_late": listens_late,
    "accepts_late": accepts_late,
    "never": never,
    "undecided": undecided,
    "generation": generation,
    "waits_elsewhere": waits_elsewhere,
    "two_readers": two_readers,
}
