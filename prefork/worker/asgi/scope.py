"""The scope of an ASGI request (asgi.readthedocs.io, HTTP 2.5): server, connection, request head.

What follows from a connection is made once and copied.

Design
------
- **No dict, list or attribute that an app may change is shared between requests.** Strings, tuples
  and numbers are. The dicts of ``asgi`` and ``extensions`` cost 0.2 µs a scope; copying the scope
  of a connection instead of filling in its part each time saves as much. Read-only mappings were
  rejected: apps write into their scope, copy and pickle it.
"""

from typing import Any
from urllib.parse import unquote

from prefork.http.connection_cache import ConnectionCache
from prefork.http.exchange import ClientConnection, Exchange
from prefork.worker.request.proxy_headers import add_request_id, apply_to_scope
from prefork.worker.request.tls_info import tls_extension

_TEMPLATE: dict[str, Any] = {
    "type": "http",
    "asgi": None,
    "http_version": "",
    "method": "",
    "scheme": "",
    "path": "",
    "raw_path": b"",
    "query_string": b"",
    "root_path": "",
    "headers": None,
    "client": None,
    "server": None,
    "extensions": None,
}
"""All keys of a scope. A copy that has them all need not grow when their values are set."""


class ScopeBuilder:
    """Builds the scope of each request of one worker."""

    def __init__(
        self, state: dict[str, Any] | None = None, root_path: str = "", id_header: str = ""
    ) -> None:
        """``state``: of the lifespan; each request gets a copy (Lifespan 2.0, "Lifespan State").
        ``root_path``: the path below which the app is mounted. ``id_header``: the name of the
        header for request ids."""
        self.state = state or None
        self.root_path = root_path
        self.apply_forwarded = apply_to_scope
        self._id_name = id_header.lower().encode("ascii")

    def build(self, exchange: Exchange) -> dict[str, Any]:
        """Build the scope of a request. It belongs to the app, which may change all of it."""
        connection, request = exchange.connection, exchange.request
        cached = connection.cache or self.add_connection(connection)
        scope = cached.keys.copy()
        path = request.path.decode("ascii")
        scope["http_version"] = request.version
        scope["method"] = request.method
        # The specification wants root_path in front of the path, also when a proxy removed it.
        root_path = self.root_path * (path != "*")
        scope["path"] = root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = request.path
        scope["query_string"] = request.query
        scope["headers"] = request.headers
        scope["asgi"] = {"version": "3.0", "spec_version": "2.5"}
        # The names in EXTENSIONS, written out: a call that makes them would cost as much as they
        # do.
        scope["extensions"] = {
            "http.response.early_hint": {},
            "http.response.pathsend": {},
            "http.response.trailers": {},
        }
        if cached.tls is not None:
            self.add_tls(scope, cached.tls)
        if self.state is not None:
            scope["state"] = self.state.copy()
        if request.forwarded is not None and (forwarded := exchange.forwarded) is not None:
            apply_to_scope(scope, forwarded)
        if exchange.request_id:
            add_request_id(scope, self._id_name, exchange.request_id)
        return scope

    def add_tls(self, scope: dict[str, Any], tls: dict[str, Any]) -> None:
        """Add the extension for TLS to a scope; ``tls``: its value, which is copied."""
        chain = tls["client_cert_chain"].copy()
        scope["extensions"]["tls"] = {**tls, "client_cert_chain": chain}

    def add_connection(self, connection: ClientConnection) -> ConnectionCache:
        """Make the cached parts for a connection, at its first request."""
        peer = connection.peer
        server: tuple[str, int | None] | None = peer.server
        if server is None:
            server = None if peer.socket_path is None else (peer.socket_path, None)
        template = _TEMPLATE.copy()
        template["root_path"], template["scheme"] = self.root_path, peer.scheme
        template["client"], template["server"] = peer.client, server
        tls = None if peer.tls is None else tls_extension(peer.tls)
        connection.cache = cached = ConnectionCache(template, tls, connection.is_multiplexed)
        return cached
