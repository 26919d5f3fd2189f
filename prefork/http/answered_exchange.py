"""A request that was answered without an exchange, as the access log and hooks see it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from prefork.http.exchange import ClientConnection, Exchange, ResponseSink
from prefork.http.request import RequestHead

if TYPE_CHECKING:  # the pure build has none
    from prefork import _speed

LogPlain = Callable[
    [ClientConnection, "_speed.PlainHead", ResponseSink, float, int, bytes, int], None
]
"""Logs such a request, from what an AnsweredExchange is made of."""


class AnsweredExchange(Exchange):
    """The exchange of a request that has ended, which is made afterwards.

    Facts that are seldom asked for are attributes of the class, so they cost a request nothing.
    """

    body = None
    request_id = ""
    extra_fields = b""
    request_complete = response_complete = headers_sent = True
    is_bodiless = disconnected = False
    _app_set_fields = None

    def __init__(
        self,
        connection: ClientConnection,
        request: RequestHead,
        sink: ResponseSink,
        started_at: float,
        status: int,
        response: bytes,
        size: int,
    ) -> None:
        """``response``: all its bytes. ``size``: those of its body."""
        self.connection, self.sink, self.request = connection, sink, request
        self.keep_alive = request.keep_alive
        self.started_at, self.status, self.body_bytes_sent = started_at, status, size
        self._head = [response]
