"""Declares the loads: the bytes of each request, and the body that every answer must have.

A load names the application that answers it (in `apps/`) and the feature that it needs besides
plain HTTP. A peer without that feature is left out of the load's table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, repeat
from typing import Literal

Need = Literal["http", "websocket", "tls", "access-log"]

UPLOAD_BYTES = 10_000_000


@dataclass(frozen=True)
class Load:
    """One kind of request, sent on `connections` connections with one request outstanding on each.

    `title` stands above the load's table. `body` is the expected body of the answer. `need` is the
    feature that the server needs. The `request` of a `varied` load has two placeholders for a
    number, which is different in each request of a run. `opening` is the HTTP request that switches
    a new connection to WebSocket, empty for plain HTTP.
    """

    name: str
    title: str
    request: bytes
    body: bytes
    app: str = "hello"
    need: Need = "http"
    connections: int = 32
    varied: bool = False
    opening: bytes = b""

    def iterate_requests(self) -> Iterator[bytes]:
        """Yield requests without end.

        The iterators are implemented in C, because the generator needs CPU time for each request.
        """
        if self.varied:
            return map(self.request.__mod__, zip(count(), count()))
        return repeat(self.request)


def _build_request(line: str, *headers: str, body: bytes = b"") -> bytes:
    head = "\r\n".join([f"{line} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""])
    return head.encode() + body


def _repeat_text(size: int) -> bytes:
    return b"0123456789abcde\n" * (size // 16)


def _build_json_of_1k() -> bytes:
    rows = [{"id": 1000 + n, "name": f"customer {n:02}", "paid": n % 2 == 0} for n in range(20)]
    text = json.dumps({"rows": rows, "note": ""}, separators=(",", ":"))
    padding = "x" * (1024 - len(text))
    return text.replace('"note":""', f'"note":"{padding}"').encode()


def _build_text_frame(text: bytes) -> bytes:
    """Return a client's WebSocket text frame (RFC 6455, section 5.2) with up to 125 bytes.

    Its mask is zero, which leaves the bytes as they are.
    """
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text


HELLO_BODY = b"Hello, world!"
JSON_BODY = _build_json_of_1k()
MESSAGE = b"sixty-four bytes go over the wire, and sixty-four bytes return.."

HELLO = _build_request("GET /", "User-Agent: bench")
HELLO_CLOSE = _build_request("GET /", "User-Agent: bench", "Connection: close")
HELLO_VARIED = _build_request("GET /item/%08d", "User-Agent: bench", "Cookie: session=%016d")
BROWSER_HEADERS = (
    "Connection: keep-alive",
    'sec-ch-ua: "Chromium";v="142", "Google Chrome";v="142", "Not_A Brand";v="99"',
    "sec-ch-ua-platform: Linux",
    "Upgrade-Insecure-Requests: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/142.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,"
    "image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: navigate",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
)
BROWSER = _build_request(
    "GET /shop/items?page=2", *BROWSER_HEADERS, f"Cookie: session={'5f3c' * 8}"
)
BROWSER_VARIED = _build_request(
    "GET /shop/items?page=%08d", *BROWSER_HEADERS, f"Cookie: session={'5f3c' * 4}%016d"
)
JSON = _build_request(
    "POST /echo",
    "Content-Type: application/json",
    f"Content-Length: {len(JSON_BODY)}",
    body=JSON_BODY,
)
UPLOAD = _build_request(
    "POST /upload",
    "Content-Type: application/octet-stream",
    f"Content-Length: {UPLOAD_BYTES}",
    body=bytes(UPLOAD_BYTES),
)
WEBSOCKET_OPENING = _build_request(
    "GET /chat",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)

# Requests that never repeat come first: they are what real clients send. Those that do are next.
ALL = (
    Load(
        "hello-varied",
        "hello world, every request with a path and a cookie of its own",
        HELLO_VARIED,
        HELLO_BODY,
        varied=True,
    ),
    Load(
        "browser-varied",
        "the same with the 12 headers of a browser",
        BROWSER_VARIED,
        HELLO_BODY,
        varied=True,
    ),
    Load("hello", "hello world, keep-alive", HELLO, HELLO_BODY),
    Load("hello-connect", "hello world, a connection per request", HELLO_CLOSE, HELLO_BODY),
    Load("browser", "hello world, requested as by a browser with 12 headers", BROWSER, HELLO_BODY),
    Load("10k", "a response of 10 KB", HELLO, _repeat_text(10 * 1024), "response_10k"),
    Load("1m", "a response of 1 MB", HELLO, _repeat_text(1024 * 1024), "response_1m"),
    Load("json", "JSON of 1 KB, parsed and sent back", JSON, JSON_BODY, "json_echo"),
    Load(
        "upload", "an upload of 10 MB", UPLOAD, b"%d" % UPLOAD_BYTES, "upload", connections=4
    ),
    Load(
        "websocket",
        "WebSocket, a message of 64 bytes and its echo",
        _build_text_frame(MESSAGE),
        MESSAGE,
        "websocket_echo",
        need="websocket",
        opening=WEBSOCKET_OPENING,
    ),
    Load("tls", "hello world, keep-alive over TLS", HELLO, HELLO_BODY, need="tls"),
    Load(
        "tls-varied",
        "hello world over TLS, every request with a path and a cookie of its own",
        HELLO_VARIED,
        HELLO_BODY,
        need="tls",
        varied=True,
    ),
    Load("access-log", "hello world, with an access log to a file", HELLO, HELLO_BODY,
         need="access-log"),
    Load("access-log-varied", "the same, every request with a path and a cookie of its own",
         HELLO_VARIED, HELLO_BODY, need="access-log", varied=True),
)  # fmt: skip

LOADS = {load.name: load for load in ALL}
