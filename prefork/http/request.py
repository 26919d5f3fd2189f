"""The head of a request: what its bytes said, once they were judged.

A head is a fact about bytes, so requests with the same bytes can share one: a client that keeps
its connection often repeats itself, and then neither the parser nor the judge has anything new to
say. Nobody changes a head once it was made, and nothing in it is about the connection.
"""

from prefork.http.forwarded import Origin

MOST_REMEMBERED = 512
LONGEST_REMEMBERED = 1024
"""Bytes of a head that is worth remembering."""

MOST_SEEN = 4096


class RequestHead:
    """Method, target and header fields of a request, and what follows from them."""

    method = ""
    query = b""
    version = "1.1"
    keep_alive = True
    """The client may send another request on this connection."""
    recurring = False
    """Remembered: other requests have this head, too."""
    memorable = True
    """It says the same whoever sent it."""
    derived: dict[str, object] | None = None
    """What the handler made of a recurring head alone."""
    logged: tuple[str, ...] | None = None
    """What the access log made of a recurring head alone."""

    def __init__(self, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.target = target
        """As sent; ``path`` and ``query`` are its parts, still percent-encoded."""
        self.path = target
        self.headers = headers
        """Names in small letters, in the order sent."""
        self.origin: Origin | None = None
        """What proxies say in it; believed only if they are trusted: see Exchange.origin."""

    def shown(self) -> str:
        """For a line in the log."""
        return f"{self.method} {self.target[:200].decode('latin-1')}"


class RememberedHeads(dict[bytes, RequestHead]):
    """Heads of whole, bodiless requests by their bytes. Bounded; forgets all when it is full.

    Remembered is what was seen twice, so that clients that never repeat themselves cost little.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[int] = set()

    def note(self, data: bytes, head: RequestHead) -> None:
        """``data`` was one request, with this head and without a body."""
        trace = hash(data)
        if trace not in self._seen:
            if len(self._seen) >= MOST_SEEN:
                self._seen.clear()
            self._seen.add(trace)
            return
        if len(self) >= MOST_REMEMBERED:
            self.clear()
        head.recurring = True
        self[data] = head
