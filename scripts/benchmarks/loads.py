"""What the servers are asked: the bytes of each request, and the body every answer must have.

A load whose request says `Connection: close` measures a connection per request as it is: the
generator reconnects whenever the server closes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """One kind of request, sent on `connections` at once, one outstanding on each."""

    name: str
    title: str
    request: bytes
    body: bytes
    connections: int = 32


HELLO = Load(
    name="hello",
    title="hello world, keep-alive",
    request=b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\n\r\n",
    body=b"Hello, world!",
)

LOADS = {load.name: load for load in (HELLO,)}
