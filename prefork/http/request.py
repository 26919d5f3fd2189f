"""The head of a request: what its bytes say, once they were validated.

Nothing in a head is about the connection or the body. There are two kinds: a ParsedHead is what the
parser makes (http1/reader.py), and a PlainHead what the compiled reader makes of a request that is
plain and whole (_speed/head_reader.pyx).
"""

from typing import Protocol

from prefork.http.forwarded import ForwardedInfo, is_forwarding_field


class RequestHead(Protocol):
    """Method, target and header fields of a request, and what follows from them."""

    @property
    def method(self) -> str:
        """One of those in validation.py."""

    @property
    def target(self) -> bytes:
        """As sent. ``path`` and ``query`` are its parts, still percent-encoded."""

    @property
    def path(self) -> bytes:
        """The target up to the first question mark; of a URL, its path."""

    @property
    def query(self) -> bytes:
        """The part after the first question mark."""

    @property
    def version(self) -> str:
        """``1.1`` or ``1.0``."""

    @property
    def keep_alive(self) -> bool:
        """The client may send another request on this connection."""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names in lower case, in the order sent. The list belongs to this request."""

    @property
    def forwarded(self) -> ForwardedInfo | None:
        """The information in its forwarding fields. It counts only from a trusted proxy: see
        Exchange.forwarded."""

    def find_fields(self, names: tuple[bytes, ...]) -> list[bytes | None]:
        """Return the values of fields by their names in lower case; None: it was not sent. Of
        several with one name the last one counts."""

    def describe(self) -> str:
        """Return method and target for a line in the log, the target cut to 200 bytes."""


class ParsedHead:
    """A head that the parser made. Only the parser changes it."""

    method = ""
    query = b""
    version = "1.1"
    keep_alive = True

    def __init__(self, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.target = target
        self.path = target
        self.headers = headers
        self.forwarded: ForwardedInfo | None = None

    def find_fields(self, names: tuple[bytes, ...]) -> list[bytes | None]:
        """Return the values of fields by their names in lower case; None: it was not sent."""
        fields = dict(self.headers)
        return [fields.get(name) for name in names]

    def drop_forwarding_fields(self) -> None:
        """Hide the fields that only proxies write."""
        self.headers = [pair for pair in self.headers if not is_forwarding_field(pair[0])]

    def describe(self) -> str:
        """Return method and target for a line in the log, the target cut to 200 bytes."""
        return f"{self.method} {self.target[:200].decode('latin-1')}"
