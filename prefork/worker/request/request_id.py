"""Ids of requests, for workers that were asked for them (``--request-id-header``).

Design
------
- **An id is taken from a trusted proxy only.** Else it is made: a client that could choose its id
  could hide behind that of another client. A made id is a random prefix of the worker and a count.
- **Ids are set by wrapping the handler,** so workers that were not asked for them pay nothing.
"""

import re
from collections.abc import Callable
from itertools import count
from secrets import token_hex

from prefork.config import Config
from prefork.http.exchange import Exchange

Handle = Callable[[Exchange], None]

_ALLOWED = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
"""Characters and length of an id that is taken from a proxy: safe in logs and header fields."""


def assign_request_ids(handle: Handle, config: Config) -> Handle:
    """Return ``handle``, or a wrapper that gives each exchange its id first, as the
    settings ask."""
    if config.request_id_header:
        handle = _wrap_handler(handle, config.request_id_header, config.request_id_return)
    return handle


def _wrap_handler(handle: Handle, header: str, return_header: bool) -> Handle:
    """Wrap ``handle``; ``return_header``: the id is sent to the client as well."""
    name = header.lower().encode("ascii")
    line = header.encode("ascii") + b": %b\r\n"
    prefix = token_hex(8)
    numbers = count(1)

    def identify(exchange: Exchange) -> None:
        exchange.request_id = _trusted_id(exchange, name) or f"{prefix}-{next(numbers):x}"
        if return_header:
            exchange.extra_fields = line % exchange.request_id.encode("ascii")
        handle(exchange)

    return identify


def _trusted_id(exchange: Exchange, name: bytes) -> str:
    """Return the id that a trusted proxy sent; empty: it sent none, several, or one that is not
    safe."""
    found = [value for key, value in exchange.request.headers if key == name]
    if len(found) == 1 and _ALLOWED.fullmatch(found[0]) and exchange.connection.is_trusted():
        return found[0].decode("ascii")
    return ""
