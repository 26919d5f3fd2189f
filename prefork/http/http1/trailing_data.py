"""Keeps what a client sends behind a request for a WebSocket until the app has decided about it.

Design
------
- **Reading goes on meanwhile.** A client that leaves is noticed only by the end of its bytes:
  without reading, an app that waits would hear of it at --timeout, and a drain would wait for both.
  Reading was paused here before, with that result.
- **The bytes are kept unparsed, 64 KB at the most.** Whether they are frames or the next request is
  not known before the app has decided. A client that follows RFC 6455 section 4.1 sends none before
  it has the answer.
"""

from prefork.http.exchange import Exchange
from prefork.http.http1.reader import ReaderContext, ReadingConnection, RequestReader

MAX_TRAILING_DATA = 64 * 1024
"""Bytes that are kept. Then reading stops until the app has decided."""


class TrailingDataReader(RequestReader):
    """The reader of a connection whose last request, ``exchange``, asks for a WebSocket."""

    __slots__ = ("_exchange", "_is_full")

    def __init__(
        self, context: ReaderContext, connection: ReadingConnection, exchange: Exchange
    ) -> None:
        super().__init__(context)
        self.connection = connection
        self._exchange = exchange
        self._is_full = False

    def read(self, data: bytes | memoryview) -> None:
        """Append a piece to the trailing data of the exchange."""
        kept = self._exchange.trailing_data = (self._exchange.trailing_data or b"") + data
        if len(kept) >= MAX_TRAILING_DATA and not self._is_full:
            self._is_full = True
            self.connection.pause_reading()
