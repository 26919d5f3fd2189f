"""Demo apps, one for each interface, so that a fresh install can serve at once.

    prefork -w 0 prefork.demo:wsgi
    prefork -w 0 prefork.demo:asgi
    prefork -w 0 prefork.demo:main

Each response names the worker, the generation and the process that answered, so that balancing and
reloads can be watched with curl.
"""

import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import prefork


def _greeting() -> bytes:
    """Return the response body: slot, generation and pid of the worker that answers."""
    me = prefork.worker()
    return (
        f"Hello from prefork: worker {me.slot}, generation {me.generation}, pid {os.getpid()}\n"
    ).encode()


def wsgi(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer every request with the greeting: the demo of WSGI (PEP 3333)."""
    body = _greeting()
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer every request, and both lifespan events, with the greeting: the demo of ASGI 3."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _greeting()})


def main(listener: socket.socket) -> None:
    """Accept connections in a loop of the app's own: the demo of ``main(listener)``."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            connection.recv(65536)
            body = _greeting()
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
            connection.sendall(head + body)
