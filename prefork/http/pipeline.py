"""The requests of one client that wait behind another, and the bytes that are not read yet.

A client may send its next requests before it has its answers (RFC 9112 section 9.3.2). One read of
the transport holds up to 256 KB, which may be ten thousand requests, and each of them becomes an
object of ten times its bytes. A long piece is therefore read in bites, and no further while enough
requests wait; what is left of it stays as it came. nginx parses one request at a time.
"""

from typing import TYPE_CHECKING

from prefork.errors import ClientError
from prefork.http.base_connection import CLOSING, BaseConnection
from prefork.http.exchange import Exchange
from prefork.http.request import MAX_WHOLE_REQUEST_SIZE

if TYPE_CHECKING:
    from prefork.http.reader import RequestReader
    from prefork.http.server_state import ServerState

MAX_WAITING = 16
"""Requests that wait before the rest of a piece is left unread. At least two: the last of them may
have a body that its app reads as it comes, and is begun before all of that was read."""

MOSTLY_FRAMING = "the request body is all framing and no content"

SLICE_SIZE = MAX_WHOLE_REQUEST_SIZE
"""Bytes of a long piece that are read at once. A shorter piece is read whole, since a request with
a small body is looked up by all of its bytes; it holds 600 requests at the most."""


class Pipeline(BaseConnection):
    """The part of a connection that keeps the order of its requests."""

    __slots__ = ("_is_held", "_reader", "_refusal", "_unparsed", "_waiting", "current")

    slice_size = SLICE_SIZE
    max_waiting = MAX_WAITING

    def __init__(self, server: "ServerState") -> None:
        super().__init__(server)
        self.current: Exchange | None = None
        """The request that is being answered."""
        self._waiting: list[Exchange] = []
        self._is_held = False
        """Reading is paused because requests wait behind another."""
        self._unparsed: memoryview | None = None
        """The unread end of a long piece. While there is some, requests wait."""
        self._reader: RequestReader = server.idle_reader
        """Its own one only while there is something to read, or shortly after."""
        self._refusal: ClientError | None = None

    def enqueue(self, exchange: Exchange) -> None:
        """A request that the app can be called with, after its predecessors; never from within
        the parser, whose callback this is."""
        self._waiting.append(exchange)
        if not self._is_held and (self.current is not None or len(self._waiting) > 1):
            self._is_held = True
            self.pause_reading()

    def _parse(self, data: bytes | memoryview, is_cacheable: bool) -> None:
        """Parse a piece."""
        raise NotImplementedError

    def refuse(self, error: ClientError) -> None:
        """Answer ``error`` once all earlier requests are answered, then close."""
        raise NotImplementedError

    def _parse_in_slices(self, data: bytes = b"") -> None:
        """Parse a long piece, or what was left unread and then ``data``, as far as requests may
        wait. The body of a request is read in one bite where its length is known."""
        left = memoryview(data)
        if self._unparsed is not None:
            left = memoryview(bytes(self._unparsed) + data) if data else self._unparsed
            self._unparsed = None
        while left and self._refusal is None and self.phase != CLOSING:
            if len(self._waiting) >= self.max_waiting:
                self._unparsed = left
                break
            slice_size = max(self.slice_size, self._reader.remaining_body_size())
            self._parse(left[:slice_size], False)
            left = left[slice_size:]
            if left and self._reader.is_mostly_framing():
                self.refuse(ClientError(400, MOSTLY_FRAMING))

    def _pop_waiting(self) -> Exchange:
        """Take the next request. It is never the last one while there is something unread."""
        if self._unparsed is not None and len(self._waiting) == 1:
            self._parse_in_slices()
        return self._waiting.pop(0)
