"""The state that all HTTP/1.1 connections of a worker share: readers and caches.

What connections of every protocol share is in http/server_state.py.
"""

from prefork.http.http1.bulk_receiver import BulkReceivers
from prefork.http.http1.head_cache import RequestCache
from prefork.http.http1.reader import ReaderContext
from prefork.http.http1.reader_pool import ReaderPool
from prefork.http.server_state import ServerState


class Http1State:
    """Shared by all HTTP/1.1 connections of one worker."""

    __slots__ = ("bulk_receivers", "head_cache", "readers", "request_cache", "server")

    def __init__(self, server: ServerState) -> None:
        self.server = server
        self.request_cache = RequestCache(server.limits)
        self.head_cache = self.request_cache.heads
        self.bulk_receivers = BulkReceivers(server.clock)
        self.readers = ReaderPool(_make_reader_context(server))


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
