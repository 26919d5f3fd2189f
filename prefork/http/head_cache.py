"""What a worker remembers of the requests that it has read, and what it knows of one by that.

Whole heads by their bytes (request.py), and the fields of others without their line
(field_cache.py).
"""

from typing import TYPE_CHECKING

from prefork.http.body import WholeBody
from prefork.http.exchange import Exchange
from prefork.http.field_cache import MAX_FIELDS_SIZE, FieldCache
from prefork.http.limits import Limits
from prefork.http.request import HEAD_END, MAX_WHOLE_REQUEST_SIZE, HeadCache, RequestHead

if TYPE_CHECKING:
    from prefork.http.connection import Connection

_P = ord("P")
"""What the methods of requests with a body begin with, as far as it matters."""


class RequestCache:
    """Of one worker. ``heads`` is asked first, by the connection itself."""

    def __init__(self, limits: Limits) -> None:
        self.heads = HeadCache()
        self._with_body = self.heads.with_body
        self.fields = FieldCache(limits.headers)
        within = min(limits.line, limits.header_size, MAX_FIELDS_SIZE)
        self._max_fields_size = within if limits.keepalive > 0 else 0
        """Bytes of a request whose fields may be known."""

    def lookup(self, connection: "Connection", data: bytes) -> Exchange | None:
        """The request that is all of ``data``, if enough of it is known. Nothing may be under
        way on its connection."""
        if data[0] == _P:
            if len(data) > MAX_WHOLE_REQUEST_SIZE:
                return None
            lines, _, body = data.partition(HEAD_END)
            known = self._with_body.get(lines)
            if known is None or known.length != len(body):
                return None
            exchange = Exchange(connection, known)
            exchange.body = whole = WholeBody()
            whole.data = body
            return exchange
        if len(data) > self._max_fields_size:
            return None
        head = self.fields.parse(data)
        if head is None:
            return None
        self.heads.add(data, head)
        return Exchange(connection, head)

    def add(self, data: bytes, head: RequestHead) -> None:
        """``data`` was one request with this head, from its first byte to its last."""
        self.heads.add(data, head)
        self.fields.add(data, head)
