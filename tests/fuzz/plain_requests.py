"""Compares what the compiled reader accepts with what the parser makes of the same bytes.

Inputs are plain requests with one accident or two, because the reader leaves most others to the
parser at once. Any difference raises AssertionError with the bytes.
"""

import random
from typing import TYPE_CHECKING, Any

from prefork import _speed
from prefork.http.http1.http1_state import MAX_PLAIN_BODY
from prefork.http.request import ParsedHead
from prefork.http.validation import METHODS
from prefork.worker.wsgi import environ as wsgi_environ
from tests.fuzz.memory import MemoryServer, Seen

if TYPE_CHECKING:
    from prefork._speed import HeadReader, PlainHead

LINES = (
    *(
        b"GET /",
        b"GET /a/b?c=d&e",
        b"HEAD /%41%zz%e2%82%ac?x",
        b"POST /a",
        b"OPTIONS /",
        b"PUT //a",
    ),
    *(b"DELETE /?", b"M-SEARCH /x", b"PATCH /a;b=c", b"PURGE /\\"),
)
FIELDS = (
    *(b"User-Agent: x/1.0 (y)", b"Accept: */*", b"Cookie: a=b; c=d", b"cookie: e", b"X-Unknown: v"),
    *(b"Connection: keep-alive", b"Connection: close", b"connection: Keep-Alive", b"X:", b"X:y\t "),
    *(b"Content-Length: 0", b"Content-Length: 5", b"content-length:5", b"Content-Type: text/plain"),
    *(b"X-Forwarded-For: 1.2.3.4", b"Forwarded: for=1.2.3.4", b"Te: trailers", b"Accept: \xe9\xff"),
)
PIECES = (
    *(
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b"\0",
        b":",
        b"\x7f",
        b"#",
        b"?",
        b"%",
        b"_",
    ),
    *(b"\r\nHost: b", b"\r\n x", b"\r\nContent-Length: 5", b"\r\nTransfer-Encoding: chunked", b"0"),
    *(b"\r\nExpect: 100-continue", b"\r\nUpgrade: websocket", b" HTTP/1.1", b"\r\nX_Y: z", b"HTTP"),
)


def make_reader(**changes: Any) -> "HeadReader":
    """Return a reader with the limits of a usual worker, but for ``changes``."""
    limits = {"max_size": 8000, "max_fields": 50, "max_content": MAX_PLAIN_BODY}
    return _speed.HeadReader(METHODS, **({"keeps_alive": True} | limits | changes))


def generate(dice: random.Random) -> bytes:
    """Return a request that is plain but for its accidents."""
    fields = [dice.choice(FIELDS) for _ in range(dice.randrange(6))]
    fields.insert(dice.randrange(len(fields) + 1), dice.choice((b"Host: a", b"host: a.b:80")))
    data = b"\r\n".join([dice.choice(LINES) + b" HTTP/1.1", *fields, b"", b""])
    if any(b"5" in field and field[:1] in b"Cc" for field in fields):
        data += b"hello"
    for _ in range(dice.choice((0, 0, 1, 1, 2))):
        at = dice.randrange(len(data) + 1)
        piece = dice.choice((dice.choice(PIECES), bytes([dice.randrange(256)])))
        data = data[:at] + piece + data[at + dice.choice((0, 0, 1, len(piece))) :]
    return data


def as_seen(head: "PlainHead") -> Seen:
    """Return a head with its body as the test app notes requests."""
    return Seen(head.method, head.target, head.version, tuple(head.headers), head.content)


def parse(server: MemoryServer, data: bytes) -> tuple[list[Seen], list[int], bool]:
    """Return what the parser makes of bytes that arrive alone: requests, statuses, and whether the
    connection ends."""
    server.take_seen()
    client = server.connect()
    client.connection._parse(data)
    client.connection._start_next()
    server.settle()
    outcome = server.take_seen(), client.statuses, client.closed
    client.leave()
    return outcome


def check(server: MemoryServer, reader: "HeadReader", data: bytes) -> bool:
    """Compare both ways; return whether the reader accepted the bytes."""
    head = reader.read(data)
    if head is None:
        return False
    assert parse(server, data) == ([as_seen(head)], [200], not head.keep_alive), data
    path, _, query = head.target.partition(b"?")
    assert (head.path, head.query) == (path, query), data
    other = ParsedHead(head.target, head.headers)
    other.method, other.path, other.query = head.method, path, query
    names = (*(name for name, _ in head.headers), b"x-never-sent", b"")
    assert head.find_fields(names) == other.find_fields(names), data
    expected: dict[str, Any] = {}
    wsgi_environ._add_head(expected, other)
    found: dict[str, Any] = {}
    head.add_to_environ(found)
    assert list(found.items()) == list(expected.items()), data
    return True


def run(seed: int, count: int) -> int:
    """Check ``count`` inputs; return how many the reader accepted."""
    accepted = 0
    reader = make_reader()
    with MemoryServer(False) as server:
        for number in range(count):
            accepted += check(server, reader, generate(random.Random(seed + number)))
    return accepted
