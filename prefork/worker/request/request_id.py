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

_SAFE = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")


def assign_request_ids(handle: Handle, config: Config) -> Handle:
    """``handle``, after the exchange was given what the settings ask for."""
    if config.request_id_header:
        handle = _with_id(handle, config.request_id_header, config.request_id_return)
    return handle


def _with_id(handle: Handle, header: str, returned: bool) -> Handle:
    name = header.lower().encode("ascii")
    line = header.encode("ascii") + b": %b\r\n"
    word = token_hex(8)
    numbers = count(1)

    def identify(exchange: Exchange) -> None:
        exchange.request_id = _taken(exchange, name) or f"{word}-{next(numbers):x}"
        if returned:
            exchange.extra_fields = line % exchange.request_id.encode("ascii")
        handle(exchange)

    return identify


def _taken(exchange: Exchange, name: bytes) -> str:
    """What a trusted proxy calls the request; empty when it says nothing, or too much."""
    found = [value for key, value in exchange.request.headers if key == name]
    if len(found) == 1 and _SAFE.fullmatch(found[0]) and exchange.connection.is_trusted():
        return found[0].decode("ascii")
    return ""
