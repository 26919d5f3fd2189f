"""What a worker remembers of the requests that it has read, and what it knows of one by that.

Whole heads by their bytes (request.py), and the fields of others without their line
(field_cache.py).
"""

from typing import TYPE_CHECKING

from prefork.http.body import WholeBody
from prefork.http.exchange import Exchange
from prefork.http.field_cache import LONGEST_FIELDS, RememberedFields
from prefork.http.limits import Limits
from prefork.http.request import END, LONGEST_WHOLE, RememberedHeads, RequestHead

if TYPE_CHECKING:
    from prefork.http.connection import Connection

_P = ord("P")
"""What the methods of requests with a body begin with, as far as it matters."""


class Memory:
    """Of one worker. ``heads`` is asked first, by the connection itself."""

    def __init__(self, limits: Limits) -> None:
        self.heads = RememberedHeads()
        self._with_body = self.heads.with_body
        self.fields = RememberedFields(limits.headers)
        within = min(limits.line, limits.header_size, LONGEST_FIELDS)
        self._familiar = within if limits.keepalive > 0 else 0
        """Bytes of a request whose fields may be known."""

    def recall(self, connection: "Connection", data: bytes) -> Exchange | None:
        """The request that is all of ``data``, if enough of it is known. Nothing may be under
        way on its connection."""
        if data[0] == _P:
            if len(data) > LONGEST_WHOLE:
                return None
            lines, _, body = data.partition(END)
            known = self._with_body.get(lines)
            if known is None or known.length != len(body):
                return None
            exchange = Exchange(connection, known)
            exchange.body = whole = WholeBody()
            whole.data = body
            return exchange
        if len(data) > self._familiar:
            return None
        head = self.fields.read(data)
        if head is None:
            return None
        self.heads.note(data, head)
        return Exchange(connection, head)

    def note(self, data: bytes, head: RequestHead) -> None:
        """``data`` was one request with this head, from its first byte to its last."""
        self.heads.note(data, head)
        self.fields.note(data, head)
