"""An ASGI app with one path for each thing that a connection can go through."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

Event = dict[str, Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

PATIENCE = 20.0

events: list[str] = []
"""The events of the apps, in order; ``/events`` tells it."""

gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
"""Opened by ``/open/NAME``."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The first part of the path chooses, the rest is its argument."""
    if scope["type"] != "http":
        raise NotImplementedError
    name, _, argument = scope["path"].removeprefix("/").partition("/")
    await PAGES[name](Web(scope, receive, send), argument)


class Web:
    """One request, with the usual shortcuts."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.raw = send

    async def start(self, *headers: tuple[bytes, bytes], status: int = 200) -> None:
        start = {"type": "http.response.start", "status": status, "headers": list(headers)}
        await self.raw(start)

    async def send(self, body: bytes, more: bool = True) -> None:
        await self.raw({"type": "http.response.body", "body": body, "more_body": more})

    async def end(self, body: bytes = b"") -> None:
        await self.send(body, more=False)

    async def body(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            event = await self.receive()
            if event["type"] == "http.disconnect":
                raise ConnectionError("the client left")
            yield event.get("body", b"")
            more = event.get("more_body", False)


async def hello(web: Web, _argument: str) -> None:
    """A short answer whose length the server finds out."""
    await web.start((b"content-type", b"text/plain"))
    await web.end(b"hello")


async def told(web: Web, argument: str) -> None:
    """The rest of the path."""
    await web.start((b"content-type", b"text/plain"))
    await web.end(argument.encode())


async def sized(web: Web, _argument: str) -> None:
    """Pieces that add up to the length announced."""
    await web.start((b"content-length", b"9"))
    await web.send(b"one")
    await web.send(b"two")
    await web.end(b"six")


async def stream(web: Web, _argument: str) -> None:
    """Pieces of a body of unknown length."""
    await web.start((b"content-type", b"text/plain"))
    await web.send(b"one")
    await web.send(b"two")
    await web.send(b"three")
    await web.end()


async def status(web: Web, argument: str) -> None:
    """A status, and a body if it may have one."""
    await web.start((b"x-status", argument.encode()), status=int(argument))
    await web.end(b"" if argument in ("204", "304") else b"body")


async def echo(web: Web, _argument: str) -> None:
    """The body of the request, piece by piece."""
    await web.start((b"content-type", b"application/octet-stream"))
    async for piece in web.body():
        await web.send(piece)
    await web.end()


async def size(web: Web, _argument: str) -> None:
    """How large the body of the request is."""
    total = 0
    async for piece in web.body():
        total += len(piece)
    await web.start()
    await web.end(str(total).encode())


async def close(web: Web, _argument: str) -> None:
    """The app wants the connection to end."""
    await web.start((b"connection", b"close"))
    await web.end(b"bye")


async def own(web: Web, _argument: str) -> None:
    """Fields that the server writes itself."""
    await web.start(
        (b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (b"Server", b"mine"),
        (b"Keep-Alive", b"timeout=99"),
        (b"X-Twice", b"a"),
        (b"X-Twice", b"b"),
        status=299,
    )
    await web.end(b"own")


async def dump(web: Web, _argument: str) -> None:
    """The scope, with bytes as text."""
    await web.start((b"content-type", b"application/json"))
    await web.end(json.dumps(web.scope, default=lambda value: value.decode("latin-1")).encode())


async def happened(web: Web, _argument: str) -> None:
    """The events so far."""
    await web.start((b"content-type", b"application/json"))
    await web.end(json.dumps(events).encode())


async def hold(web: Web, argument: str) -> None:
    """Answers when its gate is opened."""
    async with asyncio.timeout(PATIENCE):
        await gates[argument].wait()
    await web.start()
    await web.end(argument.encode())


async def half(web: Web, argument: str) -> None:
    """One piece now, the other when its gate is opened."""
    await web.start()
    await web.send(b"now")
    async with asyncio.timeout(PATIENCE):
        await gates[argument].wait()
    await web.end(b"then")


async def endless(web: Web, argument: str) -> None:
    """A response without an end."""
    await web.start()
    try:
        while True:
            await web.send(b"x" * 65536)
    except OSError:
        events.append(f"closed {argument}")
        raise


async def ignore(web: Web, _argument: str) -> None:
    """Answer without a look at the body."""
    await web.start()
    await web.end(b"ignored")


async def forever(web: Web, argument: str) -> None:
    """Never answer."""
    try:
        await asyncio.Event().wait()
    finally:
        events.append(f"cancelled {argument}")


async def started(web: Web, argument: str) -> None:
    """Start the response, and never go on."""
    await web.start()
    await asyncio.Event().wait()


async def late(web: Web, argument: str) -> None:
    """Read the body when the gate is opened, not before."""
    async with asyncio.timeout(PATIENCE):
        await gates[argument].wait()
    await size(web, "")


async def left(web: Web, argument: str) -> None:
    """Wait until the client leaves, then try to answer."""
    event: Event = {}
    while event.get("type") != "http.disconnect":
        event = await web.receive()
        events.append(f"{event['type']} {argument}")
    try:
        await web.start()
        await web.end(b"are you there?")
    except OSError:
        events.append(f"OSError {argument}")


async def twice(web: Web, argument: str) -> None:
    """Answer, and ask for more events afterwards."""
    await web.start()
    await web.end(b"done")
    for _ in range(3):
        event = await web.receive()
        events.append(f"{event['type']} {argument}")


async def reads_beside(web: Web, argument: str) -> None:
    """Answer while another task waits for the rest of the body, and wait for that."""

    async def read() -> None:
        kind = ""
        while kind != "http.disconnect":
            kind = (await web.receive())["type"]
            events.append(f"{kind} {argument}")

    reading = asyncio.ensure_future(read())
    await asyncio.sleep(0)
    await web.start()
    await web.end(b"done")
    await reading


async def scribble(web: Web, _argument: str) -> None:
    """Answer whether the scope was changed before; then change it."""
    scribbled = "scribbled" in web.scope or any(k == b"scribbled" for k, _ in web.scope["headers"])
    scribbled = scribbled or "scribbled" in web.scope["extensions"]
    web.scope["scribbled"] = web.scope["extensions"]["scribbled"] = True
    web.scope["headers"].append((b"scribbled", b"yes"))
    await web.start()
    await web.end(json.dumps(scribbled).encode())


async def iterables(web: Web, _argument: str) -> None:
    """Headers as ASGI allows them: any iterable of pairs, which may be lists."""
    headers = iter([[b"x-list", b"a"], (b"x-tuple", b"b")])
    await web.raw({"type": "http.response.start", "status": 200, "headers": headers})
    await web.end(b"fine")


async def hints(web: Web, _argument: str) -> None:
    """Early hints, before the start, behind it, and too late."""
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b>"]}
    await web.raw(hint)
    await web.start()
    await web.raw(hint | {"links": iter([b"</c>"])})
    await web.send(b"body")
    await web.raw(hint)
    await web.end()


async def bad_hints(web: Web, argument: str) -> None:
    """Early hints with a line end in a value, or as text."""
    link = b"</a>\r\nSet-Cookie: evil" if argument == "bytes" else "</a>"
    await web.raw({"type": "http.response.early_hint", "links": [link]})


async def trailers(web: Web, argument: str) -> None:
    """Fields behind the body: announced, in any case, in two messages, and some that may not."""
    fields = [(b"trailer", b"X-Sum, x-more"), (b"trailer", b"content-length")]
    if argument == "sized":
        fields.append((b"content-length", b"3"))
    start = {"type": "http.response.start", "status": 200, "headers": fields, "trailers": True}
    await web.raw(start)
    await web.send(b"one")
    await web.send(b"two" if argument != "sized" else b"", more=False)
    last = {"type": "http.response.trailers", "headers": [[b"x-sum", b"6"], (b"x-other", b"a")]}
    await web.raw(last | {"more_trailers": True})
    await web.raw(last | {"headers": [(b"X-More", b"yes"), (b"content-length", b"1")]})
    events.append(f"sent {argument}")


async def no_trailers(web: Web, argument: str) -> None:
    """Announced, and never sent; or sent, and never announced."""
    start = {"type": "http.response.start", "status": 200, "headers": []}
    await web.raw(start | {"trailers": argument == "missing"})
    await web.send(b"body", more=argument != "missing")
    if argument != "missing":
        await web.raw({"type": "http.response.trailers", "headers": []})


async def after_all(web: Web, argument: str) -> None:
    """Send events after the end of the response."""
    await web.start()
    await web.end(b"all")
    await web.start()
    await web.end(b"more")
    await web.raw({"type": "http.response.pathsend", "path": "/dev/null"})
    await web.raw({"type": "http.response.early_hint", "links": [b"</late>"]})
    events.append(f"sent {argument}")


async def opened(web: Web, argument: str) -> None:
    """Open a gate."""
    gates[argument].set()
    await web.start()
    await web.end(b"open")


PAGES = {
    "": hello,
    "hello": hello,
    "told": told,
    "sized": sized,
    "stream": stream,
    "status": status,
    "echo": echo,
    "size": size,
    "close": close,
    "own": own,
    "dump": dump,
    "events": happened,
    "hold": hold,
    "half": half,
    "endless": endless,
    "ignore": ignore,
    "forever": forever,
    "started": started,
    "late": late,
    "left": left,
    "twice": twice,
    "scribble": scribble,
    "reads_beside": reads_beside,
    "iterables": iterables,
    "hints": hints,
    "bad_hints": bad_hints,
    "trailers": trailers,
    "no_trailers": no_trailers,
    "after_all": after_all,
    "open": opened,
}
