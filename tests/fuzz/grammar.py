"""Generates requests by a grammar that mostly keeps the rules, and damages them at random.

All choices come from one ``random.Random``: a seeded one, or hypothesis's own, which it can shrink.
"""

import random
from typing import TypeVar

T = TypeVar("T")

METHODS = ("GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH")
ODD_METHODS = (
    *("get", "FOO", "M-SEARCH", "PROPFIND", "REPORT", "CONNECT", "TRACE", "G@T", "", "A" * 300),
    *("PRI", "SOURCE", "DESCRIBE", "GET\0", " GET", "GETS"),
)
TARGETS = ("/", "/a", "/a/b?c=d", "/?", "/%41%2f", "//x/y", "/a;b=c", "/a/../b", "/" + "a" * 60)
ODD_TARGETS = (
    *("*", "http://b/c?d", "HTTP://b:80", "http://b?x", "https://b/", "http://", "http://u@h/"),
    *("ftp://a/", "a", "a:80", "?a", "/a#b", "/a b", "/\0", "/\x7f", "/\xe9", "/a\tb", "", "/%"),
    *("/%zz", "/\\", '/"<>^`{|}', "http://[::1]/", "http:///a", "http://b c/", "HTTP/1.1"),
)
ODD_VERSIONS = (
    *("HTTP/1.0", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.1 "),
    *("HTTP/11", "HTTP/1.", "HTTP/01.1", "HTTP/1.1\t", "HTCPCP/1.0", "RTSP/1.0", "ICE/1.0", ""),
)
ODD_ENDS = ("\n", "\r", "\r\r\n", "\r\n ", "\n\r", "\0\r\n", "\x85", "\v\r\n")
FIELDS = (
    *("A: b", "Accept: */*", "Cookie: a=b", "Cookie: c=d", "X:y", "X:  y\t ", "X:", "Via: 1.1 a"),
    *("Connection: keep-alive", "Connection: close", "Content-Type: text/plain", "TE: trailers"),
    *("X-Forwarded-For: 1.2.3.4", "Expect: 100-continue", "Range: bytes=0-1"),
)
ODD_FIELDS = (
    *(
        "X_Y: z",
        "X-Y: z",
        "X-\xe9: z",
        "X: \xe9\xff",
        "X : y",
        "X\t: y",
        " X: y",
        "X",
        ": y",
        "X: a\0b",
    ),
    *("X: a\rb", "X: a\nb", "X: a\r\n b", "X: a\r\n\tb", "X: \x01", "X: \x7f", "X: \v", "X: a\vb"),
    *(
        "Host: b",
        "Host:",
        "Host: a b",
        "Host: a/b",
        "Host: a:80",
        "Host: a@b",
        "Host: a,b",
        "host: a",
    ),
    *("Content-Length: 5", "Content-Length: 3, 3", "Content-Length: +5", "Content-Length: 0x5"),
    *("Content-Length: 05", "Content-Length:", "Content-Length: -1", "content-length: 5 "),
    *("Content-Length: 5 5", "Content-Length: 5;", "Content-Length: \x0b5", "Content_Length: 5"),
    *("Content-Length: 18446744073709551616", "Content-Length: 99999999999999999999999"),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: Chunked ", "Transfer-Encoding: gzip"),
    *("Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked, gzip", "Transfer-Encoding:"),
    *(
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: ,chunked",
    ),
    *("Transfer-Encoding : chunked", "Transfer-Encoding:\vchunked", "Transfer_Encoding: chunked"),
    *(
        'Transfer-Encoding: "chunked"',
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding\0: chunked",
    ),
    *(
        "Transfer-Encoding: \r\n chunked",
        "Transfer-Encoding: chunked\r\n ",
        "Transfer-Encoding: ch\0",
    ),
    *("Connection: Upgrade\r\nUpgrade: x", "Connection: upgrade, close\r\nUpgrade: websocket, h2c"),
    *("Upgrade: x", "Connection: Transfer-Encoding", "Connection: content-length, close"),
    *(
        "Connection: keep-alive, close",
        "Connection: closed",
        "Proxy-Connection: close",
        "Proxy-Connection: keep-alive",
    ),
    *("Expect: x", "Expect: 100-continue, 100-continue", "Expect:", "HTTP2-Settings: AAMAAABk"),
    *("X: " + "y" * 400, "Y" * 300 + ": y"),
)
BODIES = (b"", b"hello", b"0\r\n\r\n", b"GET /inner HTTP/1.1\r\nHost: a\r\n\r\n", b"\0\xff\r\n" * 4)
ODD_SIZES = (
    *(
        "0x5",
        "+5",
        "-5",
        " 5",
        "5 ",
        "5\t",
        "",
        "05",
        "5g",
        "5;",
        "5;a=b",
        '5;a="b;c"',
        "5 ;a",
        "5;\xe9",
    ),
    *("5;a\nb", "5;a\rb", "5\0", "ffffffffffffffff", "10000000000000005", "5_0", "5;\0", "0", "00"),
    *('5;a="\r\n"', "5;" + "x" * 300),
)
TRAILERS = (
    *(
        "X: y\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Host: b\r\n",
        "X\r\n",
    ),
    *(
        "X : y\r\n",
        " X: y\r\n",
        "X: a\r\n b\r\n",
        "Connection: close\r\n",
        "X: \0\r\n",
        "X_Y: z\r\n",
    ),
    *("Content-Length: abc\r\n", "Host: a b\r\n", "Connection: upgrade\r\nUpgrade: x\r\n"),
)
PIECES = (
    *(
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\0",
        b" ",
        b"\t",
        b":",
        b";",
        b",",
        b"\xff",
        b"%",
        b"_",
    ),
    *(b"/", b"0", b"-", b"ffffffff", b"HTTP/1.1", b"HTTP/1.0", b"GET / HTTP/1.1\r\n"),
    *(
        b"Host: b\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"#",
        b"\v",
        b'"',
    ),
    *(b"Expect: 100-continue\r\n", b"Connection: Upgrade\r\nUpgrade: x\r\n", b"\x85", b"\xa0"),
    *(b"Connection: close\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"a" * 300, b"X: y\r\n" * 20),
)


class Grammar:
    """A source of inputs. ``odds``: the probability, at each choice, that a rule is broken."""

    def __init__(self, dice: random.Random, odds: float) -> None:
        self._dice = dice
        self._odds = odds

    def stream(self) -> bytes:
        """Return the bytes that a client might send on one connection."""
        requests = [self._request() for _ in range(self._dice.choice((1, 1, 1, 2, 2, 3)))]
        return self._one_of((b"",), (b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ")) + b"".join(requests)

    def accident(self, data: bytes) -> bytes:
        """Return the bytes with one random damage."""
        dice = self._dice
        start = dice.randint(0, len(data))
        match dice.randint(0, 4):
            case 0:
                return data[:start] + data[start + dice.randint(1, 8) :]
            case 1:
                return data[:start] + dice.choice(PIECES) + data[start:]
            case 2:
                return data[:start] + bytes([dice.randint(0, 255)]) + data[start + 1 :]
            case 3:
                return data[:start] + data[start : start + dice.randint(1, 40)] + data[start:]
            case _:
                return data[:start]

    def pieces(self, data: bytes) -> list[bytes]:
        """Cut the bytes into pieces as a network might."""
        count = self._dice.choice((1, 2, 3, 8))
        cuts = sorted({self._dice.randint(0, len(data)) for _ in range(count)})
        return [data[i:j] for i, j in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def _odd(self) -> bool:
        return self._dice.random() < self._odds

    def _one_of(self, good: tuple[T, ...], odd: tuple[T, ...]) -> T:
        return self._dice.choice(odd if self._odd() else good)

    def _end(self) -> str:
        return self._one_of(("\r\n",), ODD_ENDS)

    def _request(self) -> bytes:
        dice = self._dice
        method = self._one_of(METHODS, ODD_METHODS)
        target = self._one_of(TARGETS, ODD_TARGETS)
        line = f"{method} {target} {self._one_of(('HTTP/1.1',), ODD_VERSIONS)}"
        fields = [dice.choice(FIELDS) for _ in range(dice.randint(0, 2))]
        if not self._odd():
            fields.append("Host: a")
        fields += [dice.choice(ODD_FIELDS) for _ in range(3) if self._odd()]
        framing, body = self._body()
        fields += framing
        dice.shuffle(fields)
        head = "".join(text + self._end() for text in (line, *fields))
        return (head + self._end()).encode("latin-1") + body

    def _body(self) -> tuple[list[str], bytes]:
        dice = self._dice
        kind = dice.choice(("none", "none", "length", "chunked"))
        if kind == "none":
            return [], b""
        if kind == "length":
            body = dice.choice(BODIES)
            wrong = dice.choice((-1, 1, 5)) if self._odd() else 0
            return [f"Content-Length: {len(body) + wrong}"], body
        return ["Transfer-Encoding: chunked"], self._chunks()

    def _chunks(self) -> bytes:
        body = b""
        for _ in range(self._dice.randint(0, 3)):
            data = self._dice.choice(BODIES[1:])
            size = self._one_of((f"{len(data):x}",), ODD_SIZES).encode("latin-1")
            body += size + self._end().encode("latin-1") + data + self._end().encode("latin-1")
        trailer = self._one_of(("",), TRAILERS)
        return body + ("0" + self._end() + trailer + self._end()).encode("latin-1")
