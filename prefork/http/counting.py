"""Connections of a worker that counts: requests on each of them, and requests at work in all.

Only a worker with such a limit makes them; any other pays nothing for it.
"""

import math
from collections.abc import Callable

from prefork.http.channel import BUSY
from prefork.http.connection import Connection
from prefork.http.exchange import Exchange
from prefork.http.peer import Addresses
from prefork.http.service import Service

RETRY_AFTER = (b"Retry-After", b"1")
"""Seconds: whether there is room changes with every answer."""


class CountingConnection(Connection):
    """Closes after so many requests, and answers 503 while the worker has its hands full."""

    __slots__ = ("_at_work", "_left")

    def __init__(self, service: Service, told: Addresses | None = None) -> None:
        super().__init__(service, told)
        self._left = service.limits.requests or math.inf
        """Requests that are still answered."""
        self._at_work = False
        """The app has one of ours."""

    def _begin(self, exchange: Exchange, handle: Callable[[Exchange], None]) -> None:
        service = self.service
        self._left -= 1
        if self._left <= 0:
            self.closing_soon = True
        if service.at_work >= (service.limits.concurrency or math.inf):
            self.current, self.phase = exchange, BUSY
            exchange.page(503, "the server is busy", (RETRY_AFTER,))
            if exchange.body is not None:
                exchange.body.lose()
            return
        self._at_work = True
        service.at_work += 1
        super()._begin(exchange, handle)

    def ended(self, exchange: Exchange) -> None:
        """Answered: others may come."""
        if exchange is self.current:
            self._rest_from_work()
        super().ended(exchange)

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: the connection is gone, and nobody waits for its request."""
        self._rest_from_work()
        super().connection_lost(error)

    def ends(self) -> bool:
        """After the last request that may be, also if more wait."""
        return self._left <= 0 or super().ends()

    def _rest_from_work(self) -> None:
        if self._at_work:
            self._at_work = False
            self.service.at_work -= 1
