"""The state that all HTTP/1.1 connections of a worker share: readers and composer.

What connections of every protocol share is in http/server_state.py.
"""

from prefork import _speed
from prefork.http.http1.bulk_receiver import BulkReceivers
from prefork.http.http1.http1_sink import Composer
from prefork.http.http1.reader import ReaderContext
from prefork.http.http1.reader_pool import ReaderPool
from prefork.http.server_state import ServerState
from prefork.http.validation import METHODS

MAX_PLAIN_BODY = 16 * 1024
"""Bytes of a body that may come with its head in one piece, and is then not spooled."""


class Http1State:
    """Shared by all HTTP/1.1 connections of one worker."""

    __slots__ = ("bulk_receivers", "compose", "plain_reader", "readers", "server")

    def __init__(self, server: ServerState) -> None:
        self.server = server
        self.bulk_receivers = BulkReceivers(server.clock)
        self.readers = ReaderPool(_make_reader_context(server))
        self.plain_reader = _make_plain_reader(server) if _speed.IS_COMPILED else None
        """Reads plain requests without the parser; None: this is the pure build."""
        self.compose = _find_composer(server) if _speed.IS_COMPILED else None


def _make_reader_context(server: ServerState) -> ReaderContext:
    return ReaderContext(
        server.limits,
        server.clock,
        server.proxies,
        server.buffer_pool,
        server.spool_disk,
        streams_body=server.handler.streams_body,
        accepts_websockets=server.handler.upgrade is not None,
    )


def _make_plain_reader(server: ServerState) -> "_speed.HeadReader":
    limits = server.limits
    max_content = MAX_PLAIN_BODY if limits.body is None else min(limits.body, MAX_PLAIN_BODY)
    return _speed.HeadReader(
        METHODS,
        max_size=min(limits.line, limits.header_size),
        max_fields=limits.headers,
        max_content=max_content,
        keeps_alive=limits.keepalive > 0,
    )


def _find_composer(server: ServerState) -> Composer:
    return _speed.compose_bytes if server.handler.has_byte_fields else _speed.compose_text
