"""Reads requests with h11, and lists all differences between h11 and prefork that are allowed.

prefork may refuse more than h11, for the reasons in STRICTER. It may accept more than h11 only as
in LENIENT. Where both accept a request, they must understand the same, except for ALTERED.

Design
------
- **Each allowed difference is an entry with its reason and RFC section,** so that any other
  difference is a finding. prefork is more lenient in four points: empty lines before a request,
  more than one space around the target, keep-alive of HTTP/1.0, and ``RTSP/1.1`` instead of
  ``HTTP/1.1``, which httptools does not tell apart. To look for the last one in each request would
  cost more than it is worth, because the framing is the same.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import h11

from prefork.http.validation import HOST_PATTERN, METHODS
from tests.fuzz.memory import Seen

LENIENT = {
    "empty lines before a request": "RFC 9112 2.2: a server should ignore them; h11 does not",
    "more than one space around the target": "RFC 9112 3: may be taken for one; llhttp does",
    "RTSP for HTTP in a version": "llhttp does not tell them apart; the framing is the same",
    "keep-alive of HTTP/1.0": "RFC 9112 9.3: a client may ask for it; h11 closes",
}
"""Inputs that prefork accepts and h11 refuses; ``understand`` makes up for them."""

ALTERED = {
    "host of an absolute target": "RFC 9112 3.2.2: the target's authority replaces Host",
    "case of Transfer-Encoding": "RFC 9112 7: codings know no case; h11 makes it small",
    "names with underscores": "to CGI they look like names with dashes; dropped (--underscores)",
}
"""Requests that both accept and prefork presents otherwise; ``_as_shown`` converts h11's."""

_SPACES = re.compile(rb"^([A-Z-]+) +([\x21-\x7e]+) +")
_RTSP = re.compile(rb"^((?:GET|POST|OPTIONS) [\x21-\x7e]+) RTSP/")
_CLOSE = re.compile(rb"(?im)^(proxy-)?connection:.*close")


@dataclass(frozen=True)
class Read:
    """A request that h11 accepts: its meaning, its bytes, and its framing."""

    seen: Seen
    raw: bytes
    hosts: list[bytes]
    """The values of all Host fields, as sent."""
    closed: bool
    """An earlier request closes the connection for prefork, but not for h11."""

    @property
    def head(self) -> bytes:
        return self.raw[: re.search(rb"\r?\n\r?\n", self.raw).end()]  # type: ignore[union-attr]

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.seen.fields if key == name]


Reason = Callable[[Read], object]

STRICTER: dict[str, tuple[str, Reason]] = {
    "a line that ends with LF only": (
        "RFC 9112 2.2: may be taken for the end of a line, which is how requests are smuggled",
        lambda read: re.search(rb"(?<!\r)\n", read.raw),
    ),
    "a folded line": (
        "RFC 9112 5.2: to be refused or unfolded",
        lambda read: re.search(rb"\r\n[ \t]", read.raw),
    ),
    "a control character in a field": (
        "RFC 9110 5.5: invalid and dangerous",
        lambda read: re.search(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]", read.raw),
    ),
    "a Host that is none": (
        "RFC 9112 3.2: invalid field value, 400",
        lambda read: any(not HOST_PATTERN.fullmatch(host) for host in read.hosts),
    ),
    "two Hosts in HTTP/1.0": (
        "RFC 9112 3.2: more than one, 400",
        lambda read: len(read.hosts) > 1,
    ),
    "a method that is not known": (
        "RFC 9110 9.1: 501; also CONNECT, which is for proxies",
        lambda read: read.seen.method.encode() not in METHODS,
    ),
    "a version of HTTP other than 1.0 and 1.1": (
        "RFC 9110 15.6.6: 505; 1.2 should be read as 1.1 (6.2), but clients do not send it",
        lambda read: read.seen.version not in ("1.0", "1.1"),
    ),
    "a target that is neither a path nor an http URL": (
        "RFC 9112 3.2: origin, absolute or asterisk form",
        lambda read: (
            not re.fullmatch(
                rb"/[^#]*|\*|https?://[^/?#@]+([/?][^#]*)?", read.seen.target, re.IGNORECASE
            )
            or (read.seen.target == b"*" and read.seen.method != "OPTIONS")
        ),
    ),
    "a target with a host that is none": (
        "RFC 9110 4.2.1",
        lambda read: (
            (found := re.match(rb"(?i)https?://([^/?#]*)", read.seen.target))
            and not HOST_PATTERN.fullmatch(found[1])
        ),
    ),
    "Content-Length twice, or a list of it": (
        "RFC 9112 6.3: to be refused, or taken for one if all are equal",
        lambda read: (
            re.search(rb"(?im)^content-length:.*,", read.head)
            or len(re.findall(rb"(?im)^content-length[ \t]*:", read.head)) > 1
        ),
    ),
    "a length beyond 64 bits": (
        "RFC 9110 8.6: a recipient must not overflow",
        lambda read: any(int(v) >= 2**64 for v in read.values(b"content-length")),
    ),
    "Transfer-Encoding and Content-Length": (
        "RFC 9112 6.1: may be refused, and is the classic way to smuggle",
        lambda read: (
            read.values(b"transfer-encoding") and re.search(rb"(?im)^content-length:", read.head)
        ),
    ),
    "Transfer-Encoding in HTTP/1.0": (
        "RFC 9112 6.1: its framing is faulty",
        lambda read: read.seen.version == "1.0" and read.values(b"transfer-encoding"),
    ),
    "an expectation that is not known": (
        "RFC 9110 10.1.1: 417",
        lambda read: any(v.lower() != b"100-continue" for v in read.values(b"expect")),
    ),
    "a field of the head in a trailer": (
        "RFC 9110 6.5.1: framing and routing must not stand there",
        lambda read: (
            read.values(b"transfer-encoding")
            and re.search(
                rb"(?im)^(content-length|transfer-encoding|host):", read.raw[len(read.head) :]
            )
        ),
    ),
    "white space behind a chunk's size": (
        "RFC 9112 7.1: the grammar has none",
        lambda read: (
            read.values(b"transfer-encoding")
            and re.search(rb"(?im)^[0-9a-f]+[ \t]", read.raw[len(read.head) :])
        ),
    ),
    "Transfer-Encoding with a tab": (
        "RFC 9112 5.1: a tab around a value is white space; only attackers write one here",
        lambda read: re.search(rb"(?im)^transfer-encoding:.*\t", read.head),
    ),
    "close in a trailer, or in Proxy-Connection": (
        "RFC 9110 6.5.1, RFC 9112 C.2.2: neither should be; the connection is closed nevertheless",
        lambda read: read.closed,
    ),
    "a chunk extension that is not as the grammar has it": (
        "RFC 9112 7.1.1",
        lambda read: (
            read.values(b"transfer-encoding")
            and re.search(rb"(?im)^[0-9a-f]+;", read.raw[len(read.head) :])
        ),
    ),
}
"""Inputs that prefork refuses and h11 accepts: the reason, and how to recognize them."""


@dataclass
class Understanding:
    """The requests that h11 read in a stream."""

    requests: list[Read]
    open: bool
    """h11 would read on: no error so far, and the client has not asked to close."""


def understand(data: bytes) -> Understanding:
    """Read request after request with h11, and answer each of them."""
    found: list[Read] = []
    closed = False
    while True:
        data = _SPACES.sub(rb"\1 \2 ", data.lstrip(b"\r\n"))
        data = _RTSP.sub(rb"\1 HTTP/", data)
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        try:
            connection.receive_data(data)
            read = _next(connection)
            if read is None:
                return Understanding(found, True)
            request, body = read
            connection.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
        except h11.RemoteProtocolError:
            return Understanding(found, False)
        rest, _ = connection.trailing_data
        found.append(_as_shown(request, body, data[: len(data) - len(rest)], closed))
        closed = closed or bool(_CLOSE.search(found[-1].raw))
        if connection.our_state is not h11.DONE and not _is_kept(found[-1]):
            return Understanding(found, False)
        data = rest


def _is_kept(read: Read) -> bool:
    """Return whether an HTTP/1.0 client asks to keep the connection open."""
    options = [word.strip().lower() for word in b",".join(read.values(b"connection")).split(b",")]
    return read.seen.version == "1.0" and b"keep-alive" in options and b"close" not in options


def _next(connection: h11.Connection) -> tuple[h11.Request, bytes] | None:
    request: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            return request, body
        else:
            return None


def _as_shown(request: h11.Request, body: bytes, raw: bytes, closed: bool) -> Read:
    target = request.target
    fields = [(bytes(n), bytes(v)) for n, v in request.headers if b"_" not in n]
    hosts = [value for name, value in fields if name == b"host"]
    authority = re.match(rb"(?i)https?://([^/?#]*)", target)
    if authority:
        fields = [(b"host", authority[1]), *[field for field in fields if field[0] != b"host"]]
    fields = [(n, v.lower() if n == b"transfer-encoding" else v) for n, v in fields]
    version = request.http_version.decode()
    seen = Seen(request.method.decode(), bytes(target), version, tuple(fields), body)
    return Read(seen, raw, hosts, closed)
