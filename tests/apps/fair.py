"""Each interface answers ``/SECONDS`` with its pid, after so many seconds."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from typing import Any


def _seconds(path: str) -> float:
    return float(path.strip("/") or 0)


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI: blocks."""
    time.sleep(_seconds(environ["PATH_INFO"]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI: waits without blocking."""
    if scope["type"] != "http":
        return
    await asyncio.sleep(_seconds(scope["path"]))
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})


def main(listener: Any) -> None:
    """``main``: serves one connection after the other."""
    while True:
        connection, _ = listener.accept()
        with connection:
            path = connection.recv(65536).split(b" ")[1].decode()
            time.sleep(_seconds(path))
            body = b"%d" % os.getpid()
            head = (
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nDate: now\r\nContent-Length: %d\r\n\r\n"
            )
            connection.sendall(head % len(body) + body)
