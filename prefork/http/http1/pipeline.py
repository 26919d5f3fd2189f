"""The requests of one client that wait behind another one, and the bytes that are not parsed yet.

A client may send its next requests before it has its responses (RFC 9112 section 9.3.2). They are
answered one at a time and in order; while one waits behind another, reading stops.

Design
------
- **Long pieces are parsed in slices,** and no further while enough requests wait; the rest of a
  piece stays as it came. One read of the transport holds up to 256 KB, which may be ten thousand
  requests, and each becomes an object of ten times its bytes. nginx parses one request at a time.
- **An app is never called from within the parser's callback.** It is called when the piece was
  parsed, so a request that is refused because of later bytes in the same piece never reaches the
  app.
"""

from prefork.errors import ClientError
from prefork.http.exchange import Exchange
from prefork.http.http1.base_connection import CLOSING, BaseConnection
from prefork.http.http1.http1_state import Http1State
from prefork.http.http1.reader import RequestReader

MAX_WAITING = 16
"""Requests that wait before the rest of a piece is left unparsed. At least two: the last one may
have a body that its app reads as it arrives, and is started before the whole body was parsed."""

MOSTLY_FRAMING = "the request body has far more framing than content"

SLICE_SIZE = 16 * 1024
"""Bytes of a long piece that are parsed at once, 600 requests at the most."""


class Pipeline(BaseConnection):
    """The part of a connection that keeps its requests in order."""

    __slots__ = ("_is_held", "_reader", "_refusal", "_unparsed", "_waiting", "current", "http1")

    is_multiplexed = False
    slice_size = SLICE_SIZE
    max_waiting = MAX_WAITING

    def __init__(self, http1: Http1State) -> None:
        super().__init__(http1.server)
        self.http1 = http1
        self.current: Exchange | None = None
        """The request that is being answered."""
        self._waiting: list[Exchange] = []
        """Requests that the app can be called with, in order."""
        self._is_held = False
        """Reading is paused because requests wait behind another one."""
        self._unparsed: memoryview | None = None
        """The unparsed end of a long piece. While there is one, requests wait."""
        self._reader: RequestReader = http1.readers.idle_reader
        """A borrowed reader while there is something to read, and shortly after."""
        self._refusal: ClientError | None = None
        """The error that ends the connection after the requests before it."""

    def in_flight(self) -> tuple[Exchange, ...]:
        """Return the request that is being answered, if there is one."""
        current = self.current
        return () if current is None else (current,)

    def enqueue(self, exchange: Exchange) -> None:
        """Add a request for which the app can be called after its predecessors.

        The parser calls this, so the app is not called from here.
        """
        self._waiting.append(exchange)
        if not self._is_held and (self.current is not None or len(self._waiting) > 1):
            self._is_held = True
            self.pause_reading()

    def _parse(self, data: bytes | memoryview) -> None:
        """Feed a piece to the parser."""
        raise NotImplementedError

    def _parse_in_slices(self, data: bytes = b"") -> None:
        """Parse the unparsed end of the last piece and then ``data``, as far as requests may wait.

        The body of a request is parsed in one slice if its length is known.
        """
        remaining = memoryview(data)
        if self._unparsed is not None:
            remaining = memoryview(bytes(self._unparsed) + data) if data else self._unparsed
            self._unparsed = None
        while remaining and self._refusal is None and self.phase != CLOSING:
            if len(self._waiting) >= self.max_waiting:
                self._unparsed = remaining
                break
            size = max(self.slice_size, self._reader.remaining_body_size())
            self._parse(remaining[:size])
            remaining = remaining[size:]
            if remaining and self._reader.is_mostly_framing():
                self.refuse(ClientError(400, MOSTLY_FRAMING))

    def _pop_waiting(self) -> Exchange | None:
        """Remove and return the next request; None: bytes of its body were refused just now.

        While there are unparsed bytes another request waits behind it, so that reading stays
        paused.
        """
        if self._unparsed is not None and len(self._waiting) == 1:
            self._parse_in_slices()
        return self._waiting.pop(0) if self._waiting else None
