"""The head of a request: what its bytes say, once they were validated.

A head depends on its bytes only, so requests with the same bytes can share one
(http1/head_cache.py). A head is not changed once it is complete, and nothing in it is about the
connection. The body is not a part of it.
"""

from prefork.http.forwarded import ForwardedInfo

MAX_WHOLE_REQUEST_SIZE = 16 * 1024
"""Bytes of a piece that may be looked up as a whole request with its body."""

HEAD_END = b"\r\n\r\n"


class RequestHead:
    """Method, target and header fields of a request, and what follows from them."""

    method = ""
    query = b""
    version = "1.1"
    keep_alive = True
    """The client may send another request on this connection."""
    length = 0
    """Bytes of its body, if they came with Content-Length and nothing unusual; else 0."""
    is_cached = False
    """Other requests share this head."""
    is_cacheable = True
    """The bytes mean the same from any client."""
    handler_cache: dict[str, object] | None = None
    """Data that the handler derived from a cached head alone."""
    access_log_cache: tuple[str, ...] | None = None
    """Data that the access log derived from a cached head alone."""

    def __init__(self, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.target = target
        """As sent. ``path`` and ``query`` are its parts, still percent-encoded."""
        self.path = target
        self.headers = headers
        """Names in lower case, in the order sent."""
        self.forwarded: ForwardedInfo | None = None
        """The information in its forwarding fields. It counts only from a trusted proxy: see
        Exchange.forwarded."""

    def describe(self) -> str:
        """Return method and target for a line in the log, the target cut to 200 bytes."""
        return f"{self.method} {self.target[:200].decode('latin-1')}"


class CachedFields:
    """The fields of requests, without a cookie, that a protocol recognizes when they come again."""

    handler_cache: dict[str, object] | None = None
    """Data that the handler derived from the fields alone."""

    def __init__(self, head: RequestHead) -> None:
        self.headers = [pair for pair in head.headers if pair[0] != b"cookie"]
        self.forwarded = head.forwarded


class CachedFieldsHead(RequestHead):
    """The head of a request whose fields are cached."""

    def __init__(
        self, target: bytes, method: str, fields: CachedFields, cookie: bytes | None, place: int
    ) -> None:
        """``cookie``: its value, None without; ``place``: its index among the fields."""
        self.target = self.path = target
        if b"?" in target:
            self.path, _, self.query = target.partition(b"?")
        self.method = method
        self.fields = fields
        self.forwarded = fields.forwarded
        self.cookie = cookie
        self._place = place

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:  # type: ignore[override]
        """Names in lower case, in the order sent. A new list at each access."""
        headers = self.fields.headers.copy()
        if self.cookie is not None:
            headers.insert(self._place, (b"cookie", self.cookie))
        return headers
