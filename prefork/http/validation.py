"""Validate requests: refuse what llhttp tolerates and the RFCs do not.

The functions raise ClientError with the status to send. The connection decides how the client gets
the error and how the connection ends.

Design
------
- **Only methods that llhttp knows are accepted;** any other token is a 501, a word that is no
  token a 400. They are most of IANA's registry. The methods of RTSP and ICE, which llhttp knows as
  well, are left out.
- **In an absolute target the authority replaces Host** (RFC 9112 section 3.2.2), so the app sees
  the same host as a proxy in front that went by the target. The scheme of the target is ignored:
  the connection and trusted proxies tell whether TLS was used.
"""

import re
from typing import NoReturn

import httptools

from prefork.errors import ClientError
from prefork.http.limits import Limits
from prefork.http.request import ParsedHead, RequestHead

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
"""The methods of HTTP that llhttp knows, except CONNECT, which is for proxies."""

HOST_PATTERN = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]+)(:[0-9]*)?")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*)(.*)")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token (RFC 9110 section 5.6.2)."""
_WORD_END = re.compile(rb"[ \r\n]")
_HEAD_END = b"\r\n\r\n"
_MAX_HOSTS = 256

VALID_HOSTS: set[bytes] = set()
"""A cache of well-formed Host values. It is bounded because clients can invent hosts."""


def validate_head(
    head: ParsedHead,
    hosts: int,
    length: int | None,
    coding: bytes | None,
    expect: bytes | None,
    limits: Limits,
) -> None:
    """Validate a request head, and set its path where the target is not a path.

    ``hosts``: number of Host fields. ``length`` (Content-Length), ``coding`` (Transfer-Encoding)
    and ``expect``: values of these fields in lower case, None without the field. ``limits``: the
    sizes that are allowed. Raises ClientError.
    """
    if head.version not in ("1.1", "1.0"):
        raise ClientError(505, "only HTTP/1.0 and HTTP/1.1 are supported")
    if head.version == "1.0" and not any(name == b"connection" for name, _ in head.headers):
        # llhttp also obeys Proxy-Connection, which old proxies pass on without understanding it.
        head.keep_alive = False
    if hosts != 1 and (hosts or head.version == "1.1"):
        raise ClientError(400, "a request must have exactly one Host")
    if len(head.target) > limits.line:
        raise ClientError(414, "the request target is too long")
    size = sum(len(name) + len(value) + 4 for name, value in head.headers)
    if len(head.headers) > limits.headers or size > limits.header_size:
        raise ClientError(431, "the request has too many or too large header fields")
    if b"#" in head.target:  # a client does not send the fragment (RFC 9112 section 3.2)
        raise ClientError(400, "the request target must not have a fragment")
    if head.target[0] != SLASH:
        head.path = _split_absolute_target(head)
    _validate_body(head, length, coding, expect, limits)


def reject_method(name: bytes) -> NoReturn:
    """Raise ClientError 501 for a method that is not in METHODS (RFC 9110 section 9.1)."""
    if name == b"CONNECT":
        raise ClientError(501, "CONNECT is not supported")
    raise ClientError(501, "this method is not supported")


def validate_host(host: bytes) -> None:
    """Validate the value of a Host field (RFC 9110 section 7.2) and cache it.

    Raises ClientError 400 unless it is a host with or without a port.
    """
    if not HOST_PATTERN.fullmatch(host):
        raise ClientError(400, "Host is not a host with an optional port")
    if len(VALID_HOSTS) < _MAX_HOSTS:
        VALID_HOSTS.add(host)


def is_websocket_request(head: RequestHead) -> bool:
    """Return whether a request with an Upgrade and without a body asks for a WebSocket.

    It does as a GET of HTTP/1.1 with ``websocket`` in Upgrade (RFC 6455 section 4.1).
    """
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
    """Validate the fields that frame or announce a body. Raises ClientError."""
    if coding is not None:
        if head.version == "1.0":
            raise ClientError(400, "HTTP/1.0 has no Transfer-Encoding")
        if coding != b"chunked":
            raise ClientError(501, "the only supported Transfer-Encoding is chunked")
    if expect is not None and expect != b"100-continue":
        raise ClientError(417, "the only supported expectation is 100-continue")
    if limits.body is not None and (length or 0) > limits.body:
        raise ClientError(413, "the request body is too large")


def _split_absolute_target(head: ParsedHead) -> bytes:
    """Return path and query of a target in absolute form, or the asterisk of OPTIONS (RFC 9112
    section 3.2).

    The authority of the target replaces the Host field (section 3.2.2): a proxy in front goes by
    the target, and the app must see the same host.
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
    """Return the ClientError for an error of the parser.

    A ClientError that a callback raised is returned; any other exception of a callback is raised
    again. ``piece``: the bytes that were parsed; ``ended``: number of requests that ended in it.
    """
    cause = error.__context__
    if isinstance(cause, ClientError):
        return cause
    if isinstance(error, httptools.HttpParserCallbackError) and cause is not None:
        raise cause
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        word = _first_word(bytes(piece), ended)
        if _TOKEN.fullmatch(word) and word not in METHODS:
            return ClientError(501, "this method is not supported")
        return ClientError(400, "a request must begin with a method and a space")
    # llhttp has no error class for these two, only texts. "PRI" begins the preface of HTTP/2.
    if "HTTP version" in str(error) or "PRI" in str(error):
        return ClientError(505, "only HTTP/1.0 and HTTP/1.1 are supported")
    return ClientError(400, f"the request is malformed: {error}")


def _first_word(piece: bytes, ended: int) -> bytes:
    """Return the word at the place of the method, as far as the piece has it.

    For a request behind others this is a guess, because their bodies may hold empty lines as well.
    """
    start = piece.split(_HEAD_END, ended)[-1].lstrip(b"\r\n")
    return _WORD_END.split(start, 1)[0]
