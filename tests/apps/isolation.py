"""Apps that mark every object they are given, and answer whether it was marked before."""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

Scope = dict[str, Any]

last: ContextVar[str] = ContextVar("last", default="nothing")
"""The path of the request that set it; each request must find the default."""

MARK = "spoilt"
SHARED = ("wsgi.errors", "wsgi.file_wrapper")
"""A stream of the process and a class: PEP 3333 lets all requests share them."""

closed: list[str] = []
"""The results of close() of a file, which resets the variable."""


def spoil(thing: Any) -> bool:
    """Mark all that can be changed in ``thing``; whether any of it was marked before."""
    match thing:
        case dict():
            found = [MARK in thing, *(spoil(v) for k, v in thing.items() if k not in SHARED)]
            thing[MARK] = True
        case list() | tuple():
            found = [MARK in thing, *map(spoil, thing)]
            if isinstance(thing, list):
                thing.append(MARK)
        case None | str() | bytes() | int() | float():
            return False
        case _:
            found = [hasattr(thing, MARK)]
            try:
                setattr(thing, MARK, True)
            except AttributeError:
                pass
    return any(found)


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """``/spoil``: whether anything in environ was marked. Else: what ``last`` was."""
    path = environ["PATH_INFO"]
    if path == "/spoil":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [json.dumps(spoil(environ)).encode()]
    if path == "/closed":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [json.dumps(closed).encode()]
    found = last.get().encode()
    token = last.set(path)
    if path.startswith("/generator"):
        return _generator(start_response, found)
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    if path.startswith("/written"):
        write(found)
        return []
    if path.startswith("/file"):
        file = Path(__file__).open("rb")  # noqa: SIM115 - the server closes it
        wrapped = environ["wsgi.file_wrapper"](file)
        close = wrapped.close
        wrapped.close = lambda: (closed.append(_put_back(token)), close())
        return wrapped  # type: ignore[no-any-return]
    return [found]


def _put_back(token: Any) -> str:
    try:
        last.reset(token)
    except ValueError as error:
        return str(error)
    return last.get()


def _generator(start_response: Callable[..., Any], found: bytes) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield found
    last.set("the second piece")
    yield b""


async def asgi(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """``/spoil``: whether anything in scope or events was marked. Else: what ``last`` was."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    path = scope["path"]
    if path == "/spoil":
        event = await receive()
        found = json.dumps(spoil(scope) | spoil(event))
    else:
        found = last.get()
        last.set(path)
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": found})
        await send({"type": "websocket.close"})
        return
    if path.startswith("/waits/"):
        gate = Path(path.removeprefix("/waits"))
        gate.with_suffix(".begun").touch()
        while not gate.exists():
            await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if path.startswith("/streams"):
        await send({"type": "http.response.body", "body": found.encode(), "more_body": True})
        await asyncio.sleep(0)
        found = ""
    await send({"type": "http.response.body", "body": found.encode()})
