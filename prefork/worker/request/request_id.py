"""Ids of requests, for workers that were asked for them; the others pay nothing.

An id is taken from a proxy that is trusted, and made for everybody else: whoever could choose it
could hide behind somebody else's. It is the worker's own random word and a count.
"""

import re
from collections.abc import Callable
from itertools import count
from secrets import token_hex

from prefork.config import Config
from prefork.http.exchange import Exchange

Handle = Callable[[Exchange], None]

_ALLOWED = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")


def assign_request_ids(handle: Handle, config: Config) -> Handle:
    """``handle``, after the exchange was given what the settings ask for."""
    if config.request_id_header:
        handle = _wrap_handler(handle, config.request_id_header, config.request_id_return)
    return handle


def _wrap_handler(handle: Handle, header: str, return_header: bool) -> Handle:
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
    """What a trusted proxy calls the request; empty when it says nothing, or too much."""
    found = [value for key, value in exchange.request.headers if key == name]
    if len(found) == 1 and _ALLOWED.fullmatch(found[0]) and exchange.connection.is_trusted():
        return found[0].decode("ascii")
    return ""
