"""ASGI's scope: the server, the connection and the request's head (asgi.readthedocs.io, HTTP 2.5).

An app may write into its scope, so no dict or list in it is known to any other request. Strings,
tuples and numbers are shared: what follows from a connection, and from a head that recurs, is made
once and copied.
"""

from typing import Any
from urllib.parse import unquote

from prefork.http.connection import Connection
from prefork.http.exchange import Exchange
from prefork.http.request import RequestHead
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
"""All keys of a scope: a copy with others put in would have to grow."""


class _ConnectionScope:
    """The scope as far as it is the same for all requests of a connection: ``template``; and, in
    ``scope``, for those with its ``usual`` head, which came twice in a row."""

    __slots__ = ("_previous_head", "repeated_head", "scope", "template", "tls")

    def __init__(self, template: dict[str, Any], tls: dict[str, Any] | None) -> None:
        self.template = template
        self.tls = tls
        """The TLS extension; None: the connection is not encrypted."""
        self.repeated_head: RequestHead | None = None
        self.scope: dict[str, Any] = {}
        self._previous_head: RequestHead | None = None

    def build(self, request: RequestHead) -> dict[str, Any]:
        """The scope of a head that recurs, without its dicts and lists."""
        derived = request.handler_cache
        if derived is None:
            derived = request.handler_cache = {}
            _add_head(derived, request, self.template["root_path"])
        scope = self.template.copy()
        scope.update(derived)
        if request is self._previous_head:
            self.repeated_head, self.scope = request, scope.copy()
        self._previous_head = request
        return scope


class ScopeBuilder:
    """Makes the scopes of one worker's requests."""

    def __init__(
        self, state: dict[str, Any] | None = None, root_path: str = "", id_header: str = ""
    ) -> None:
        """``state``: of the lifespan; each request gets a copy (Lifespan 2.0, "Lifespan State")."""
        self._state = state or None
        self._root_path = root_path
        self._id_name = id_header.lower().encode("ascii")

    def build(self, exchange: Exchange) -> dict[str, Any]:
        """A scope of the app's own: it may do with it what it likes."""
        connection, request = exchange.connection, exchange.request
        cached: _ConnectionScope = connection.handler_state or self._add_connection(connection)
        if request.is_cached:
            scope = (
                cached.scope.copy() if cached.repeated_head is request else cached.build(request)
            )
            scope["headers"] = request.headers.copy()
        else:
            scope = cached.template.copy()
            _add_head(scope, request, self._root_path)
            scope["headers"] = request.headers
        scope["asgi"] = {"version": "3.0", "spec_version": "2.5"}
        # Those of EXTENSIONS. Written out, because a call would cost as much as the dicts.
        scope["extensions"] = {
            "http.response.early_hint": {},
            "http.response.pathsend": {},
            "http.response.trailers": {},
        }
        if cached.tls is not None:
            chain = cached.tls["client_cert_chain"].copy()
            scope["extensions"]["tls"] = {**cached.tls, "client_cert_chain": chain}
        if self._state is not None:
            scope["state"] = self._state.copy()
        if request.forwarded is not None and (forwarded := exchange.forwarded) is not None:
            apply_to_scope(scope, forwarded)
        if exchange.request_id:
            add_request_id(scope, self._id_name, exchange.request_id)
        return scope

    def _add_connection(self, connection: Connection) -> _ConnectionScope:
        peer = connection.peer
        server: tuple[str, int | None] | None = peer.server
        if server is None:
            # A unix socket has a path, and one without a name has not even that.
            path = connection.transport.get_extra_info("sockname")
            server = (path, None) if path and isinstance(path, str) else None
        template = _TEMPLATE.copy()
        template["root_path"], template["scheme"] = self._root_path, peer.scheme
        template["client"], template["server"] = peer.client, server
        tls = None if peer.tls is None else tls_extension(peer.tls)
        connection.handler_state = cached = _ConnectionScope(template, tls)
        return cached


def _add_head(scope: dict[str, Any], request: RequestHead, root_path: str) -> None:
    """Keys that follow from the request's head, but for its fields."""
    path = request.path.decode("ascii")
    scope["http_version"] = request.version
    scope["method"] = request.method
    # The specification has the path with its front, also when a proxy took it away.
    scope["path"] = root_path * (path != "*") + (unquote(path) if "%" in path else path)
    scope["raw_path"] = request.path
    scope["query_string"] = request.query
