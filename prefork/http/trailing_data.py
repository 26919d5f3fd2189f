"""What a client sends behind a request for a WebSocket, before the app has decided about it.

Reading goes on meanwhile, because a client that leaves is noticed by the end of its bytes only: an
app that waits would otherwise never hear of it, and a drain would wait for both. The bytes are kept
as they are, since their meaning is not decided yet.
"""

from typing import TYPE_CHECKING

from prefork.http.exchange import Exchange
from prefork.http.reader import RequestReader

if TYPE_CHECKING:
    from prefork.http.connection import Connection

MAX_TRAILING_DATA = 64 * 1024
"""Bytes that are kept; then reading stops until the app has decided. A client that follows RFC 6455
section 4.1 sends none."""


class TrailingDataReader(RequestReader):
    """Stands for the reader of a connection whose last request is ``exchange``."""

    __slots__ = ("_exchange", "_is_full")

    def __init__(self, connection: "Connection", exchange: Exchange) -> None:
        super().__init__(connection.server)
        self.connection = connection
        self._exchange = exchange
        self._is_full = False

    def read(self, data: bytes | memoryview) -> None:
        """Keep it."""
        behind = self._exchange.trailing_data = (self._exchange.trailing_data or b"") + data
        if len(behind) >= MAX_TRAILING_DATA and not self._is_full:
            self._is_full = True
            self.connection.pause_reading()
