"""Which requests are refused, and with which status: what llhttp tolerates and the RFCs do not.

Raises ClientError; how the client is told, and what becomes of the connection, is not decided here.
"""

import re
from typing import NoReturn

import httptools

from prefork.errors import ClientError
from prefork.http.limits import Limits
from prefork.http.request import HEAD_END, RequestHead

SLASH = ord("/")
METHODS = {
    method.encode(): method
    for method in (
        *("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"),
        *("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "ACL", "SEARCH"),
        *("BIND", "REBIND", "UNBIND", "REPORT", "MKACTIVITY", "CHECKOUT", "MERGE", "MKCALENDAR"),
        *("M-SEARCH", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE", "PURGE", "LINK", "UNLINK", "QUERY"),
    )
}
"""All that llhttp knows of HTTP, but CONNECT; it knows those of RTSP and ICE, too."""

HOST_PATTERN = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]+)(:[0-9]*)?")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*)(.*)")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110 section 5.6.2."""
_WORD_END = re.compile(rb"[ \r\n]")
_MAX_HOSTS = 256

VALID_HOSTS: set[bytes] = set()
"""Hosts that were found well-formed. Bounded, for clients that invent them."""


def validate_head(
    head: RequestHead,
    hosts: int,
    length: int | None,
    coding: bytes | None,
    expect: bytes | None,
    limits: Limits,
) -> None:
    """Refuse a head, or finish reading its target.

    ``hosts``: how many Host fields; ``length``, ``coding`` (Transfer-Encoding) and ``expect`` as
    sent in small letters, None without.
    """
    if head.version not in ("1.1", "1.0"):
        raise ClientError(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    if head.version == "1.0" and not any(name == b"connection" for name, _ in head.headers):
        # llhttp goes by Proxy-Connection, too, which old proxies pass on and do not understand.
        head.keep_alive = False
    if hosts != 1 and (hosts or head.version == "1.1"):
        raise ClientError(400, "a request needs exactly one Host")
    if len(head.target) > limits.line:
        raise ClientError(414, "the request target is too long")
    size = sum(len(name) + len(value) + 4 for name, value in head.headers)
    if len(head.headers) > limits.headers or size > limits.header_size:
        raise ClientError(431, "the request has too many or too large header fields")
    if b"#" in head.target:
        raise ClientError(400, "a fragment is the client's own business")
    if head.target[0] != SLASH:
        head.path = _take_authority(head)
    _validate_body(head, length, coding, expect, limits)


def reject_method(name: bytes) -> NoReturn:
    """RFC 9110 section 9.1."""
    if name == b"CONNECT":
        raise ClientError(501, "this server is no proxy")
    raise ClientError(501, "this method is not known here")


def validate_host(host: bytes) -> None:
    """Refuse what is no host and port (RFC 9110 section 7.2), remember the rest."""
    if not HOST_PATTERN.fullmatch(host):
        raise ClientError(400, "Host is no host and port")
    if len(VALID_HOSTS) < _MAX_HOSTS:
        VALID_HOSTS.add(host)


def is_websocket_request(head: RequestHead) -> bool:
    """Whether a request with an Upgrade, and without a body, begins the handshake of RFC 6455."""
    return (
        head.method == "GET"
        and head.version == "1.1"
        and any(
            name == b"upgrade" and b"websocket" in map(bytes.strip, value.lower().split(b","))
            for name, value in head.headers
        )
    )


def _validate_body(
    head: RequestHead,
    length: int | None,
    coding: bytes | None,
    expect: bytes | None,
    limits: Limits,
) -> None:
    if coding is not None:
        if head.version == "1.0":
            raise ClientError(400, "HTTP/1.0 has no Transfer-Encoding")
        if coding != b"chunked":
            raise ClientError(501, "the only Transfer-Encoding spoken here is chunked")
    if expect is not None and expect != b"100-continue":
        raise ClientError(417, "the only expectation known here is 100-continue")
    if limits.body is not None and (length or 0) > limits.body:
        raise ClientError(413, "the request body is too large")


def _take_authority(head: RequestHead) -> bytes:
    """Path and query of a target in absolute form, or OPTIONS's asterisk (RFC 9112 3.2).

    Who is asked is then said twice, and the target is right (section 3.2.2): the app must not see
    another Host than a proxy in front, which went by the target, has seen.
    """
    if head.target == b"*" and head.method == "OPTIONS":
        return b"*"
    form = _ABSOLUTE.fullmatch(head.target)
    if form is None or not HOST_PATTERN.fullmatch(form[1]):
        raise ClientError(400, "the request target is neither a path nor a URL")
    other_fields = [field for field in head.headers if field[0] != b"host"]
    head.headers = [(b"host", form[1]), *other_fields]
    path = form[2]
    if not path and head.method == "OPTIONS":
        return b"*"  # section 3.2.4
    return path if path.startswith(b"/") else b"/" + path


def client_error_from(
    error: httptools.HttpParserError, piece: bytes | memoryview, ended: int
) -> ClientError:
    """Which status a complaint of the parser deserves; an error of ours is raised again.

    ``piece``: what was parsed; ``ended``: how many requests ended in it.
    """
    cause = error.__context__
    if isinstance(cause, ClientError):
        return cause
    if isinstance(error, httptools.HttpParserCallbackError) and cause is not None:
        raise cause
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        word = _first_word(bytes(piece), ended)
        if _TOKEN.fullmatch(word) and word not in METHODS:
            return ClientError(501, "this method is not known here")
        return ClientError(400, "a request begins with a method and a space")
    if "HTTP version" in str(error) or "PRI" in str(error):
        return ClientError(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    return ClientError(400, f"the request is malformed: {error}")


def _first_word(piece: bytes, ended: int) -> bytes:
    """What stands where a method belongs, as far as the piece has it. Of a request behind others
    it is a guess: their bodies may hold empty lines, too."""
    start = piece.split(HEAD_END, ended)[-1].lstrip(b"\r\n")
    return _WORD_END.split(start, 1)[0]
