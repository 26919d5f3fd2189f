"""A connection that counts: the requests on itself, and those in progress in the worker.

Design
------
- **Limits that count requests are a class of their own** (--limit-requests-per-connection,
  --limit-concurrency), chosen once for a worker. A worker without such a limit does not count, so
  its requests pay nothing for the option.
"""

import math
from collections.abc import Callable

from prefork import _speed
from prefork.http.exchange import Exchange
from prefork.http.http1.http1_state import Http1State
from prefork.http.http1.plain_connection import PlainConnection
from prefork.http.peer import Addresses
from prefork.http.response_head import RETRY_AFTER
from prefork.http.server_state import PlainCalls


class CountingConnection(PlainConnection):
    """Closes after a number of requests, and answers 503 while the worker has its limit of them."""

    __slots__ = ("_remaining_requests",)

    def __init__(self, http1: Http1State, addresses: Addresses | None = None) -> None:
        super().__init__(http1, addresses)
        self._remaining_requests = self.server.limits.requests or math.inf
        """Requests that are still answered."""

    def _start_exchange(self, exchange: Exchange, handle: Callable[[Exchange], None]) -> None:
        server = self.server
        self._remaining_requests -= 1
        if self._remaining_requests <= 0:
            self.close_requested = True
        if server.load.requests_in_flight < (server.limits.concurrency or math.inf):
            super()._start_exchange(exchange, handle)
            return
        self._start_without_app(exchange)
        exchange.send_error(503, "the server is busy", (RETRY_AFTER,))
        if exchange.body is not None:
            exchange.body.discard()

    def answer_plain(self, head: "_speed.PlainHead", _calls: PlainCalls) -> None:
        """Make an exchange of each request: limits are checked where it begins."""
        self._start_exchange(self.make_exchange(head), self.server.handle)

    def is_last_response(self) -> bool:
        """Return whether the limit of requests is reached, or the connection closes anyway.

        Requests that wait behind the last one do not count: they are not answered.
        """
        return self._remaining_requests <= 0 or super().is_last_response()
