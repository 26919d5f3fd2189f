"""The head of a request: what its bytes said, once they were judged.

A head is a fact about bytes, so requests with the same bytes can share one: a client that keeps
its connection often repeats itself, and then neither the parser nor the judge has anything new to
say. Nobody changes a head once it was made, and nothing in it is about the connection.

A body is not part of it. But a head that says how long its body is also says where the request
ends, so one whose body arrived in the same piece needs no parser either.
"""

from prefork.http.forwarded import ForwardedInfo

MAX_CACHED_HEADS = 512
MAX_CACHED_HEAD_SIZE = 1024
"""Bytes of a head that is worth remembering."""

MAX_WHOLE_REQUEST_SIZE = 16 * 1024
"""Bytes of a piece that is looked at for a whole request with its body."""

MAX_SEEN_HEADS = 4096
HEAD_END = b"\r\n\r\n"


class RequestHead:
    """Method, target and header fields of a request, and what follows from them."""

    method = ""
    query = b""
    version = "1.1"
    keep_alive = True
    """The client may send another request on this connection."""
    length = 0
    """Bytes of its body; 0 also while nobody needs to know."""
    is_cached = False
    """Remembered: other requests have this head, too."""
    is_cacheable = True
    """It says the same whoever sent it."""
    handler_cache: dict[str, object] | None = None
    """What the handler made of a recurring head alone."""
    access_log_cache: tuple[str, ...] | None = None
    """What the access log made of a recurring head alone."""

    def __init__(self, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.target = target
        """As sent; ``path`` and ``query`` are its parts, still percent-encoded."""
        self.path = target
        self.headers = headers
        """Names in small letters, in the order sent."""
        self.forwarded: ForwardedInfo | None = None
        """What proxies say in it; believed only if they are trusted: see Exchange.origin."""

    def describe(self) -> str:
        """For a line in the log."""
        return f"{self.method} {self.target[:200].decode('latin-1')}"


class HeadCache(dict[bytes, RequestHead]):
    """Heads of whole, bodiless requests by their bytes. Bounded; forgets all when it is full.

    Remembered is what was seen twice, so that clients that never repeat themselves cost little.
    """

    def __init__(self) -> None:
        super().__init__()
        self.with_body: dict[bytes, RequestHead] = {}
        """Other heads, by their bytes up to the empty line. What they announce is known to be the
        plain length of a body, so its bytes cannot be taken for anything else, if there are just as
        many of them."""
        self._seen: set[int] = set()

    def add(self, data: bytes, head: RequestHead) -> None:
        """``data`` was one request with this head, from its first byte to its last."""
        known: dict[bytes, RequestHead] = self
        if head.length:
            known = self.with_body
            data, _, body = data.partition(HEAD_END)
            if len(body) != head.length:
                return  # empty lines came first
        if len(data) > MAX_CACHED_HEAD_SIZE:
            return
        fingerprint = hash(data)
        if fingerprint not in self._seen:
            if len(self._seen) >= MAX_SEEN_HEADS:
                self._seen.clear()
            self._seen.add(fingerprint)
            return
        if len(known) >= MAX_CACHED_HEADS:
            known.clear()
        head.is_cached = True
        known[data] = head
