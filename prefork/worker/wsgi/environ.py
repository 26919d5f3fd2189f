"""WSGI's environ: what the server, the connection and the request's head put into it (PEP 3333).

Little of it changes from one request to the next, so a request copies what was made before: for a
worker, or for a head that recurs; and adds what was made for its connection.
"""

from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from prefork.http.body import WholeBody
from prefork.http.connection import Connection
from prefork.http.exchange import Exchange
from prefork.http.field_cache import CachedFields, CachedFieldsHead
from prefork.http.request import RequestHead
from prefork.unix.streams import error_stream
from prefork.worker.request.proxy_headers import apply_to_environ
from prefork.worker.request.tls_info import tls_environ
from prefork.worker.wsgi.file_wrapper import FileWrapper

_ENVIRON_KEYS: dict[bytes, str] = {
    b"content-type": "CONTENT_TYPE",
    b"content-length": "CONTENT_LENGTH",
}
"""Header names as environ keys; bounded, for clients that invent names."""

_MAX_ENVIRON_KEYS = 1024

_REQUEST_KEYS = (
    "REQUEST_METHOD",
    "PATH_INFO",
    "QUERY_STRING",
    "REQUEST_URI",
    "RAW_URI",
    "SERVER_PROTOCOL",
    "SERVER_NAME",
    "SERVER_PORT",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "wsgi.url_scheme",
    "wsgi.early_hints",
)
_TYPICAL_FIELDS = 8
"""Header fields of the usual request."""

Hints = Iterable[tuple[str, str]]
HintSender = Callable[[Connection, Hints], None]
"""Send early hints for the request that this connection is answering."""


class EarlyHints:
    """``wsgi.early_hints``: called with header fields, ``("Link", …)`` above all, sends a 103.

    One for a connection: it answers its requests one by one, so they cannot be mistaken. The slots
    keep an app from leaving attributes on it for the next request.
    """

    __slots__ = ("_connection", "_send")

    def __init__(self, connection: Connection, send_early_hints: HintSender) -> None:
        self._connection = connection
        self._send = send_early_hints

    def __call__(self, headers: Hints) -> None:
        self._send(self._connection, headers)


class EmptyInput:
    """``wsgi.input`` of a request without a body; one for all, because it has no state, and takes
    no attributes."""

    __slots__ = ()

    def read(self, _size: int = -1) -> bytes:
        """Nothing."""
        return b""

    def readline(self, _size: int = -1) -> bytes:
        """Nothing."""
        return b""

    def readlines(self, _send: int = -1) -> list[bytes]:
        """No lines."""
        return []

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        """Nothing to close."""


class _ConnectionEnviron:
    """What all requests of a connection share, and no others: its ``facts``; and the ``environ`` of
    its ``usual`` head, which came twice in a row."""

    __slots__ = ("_previous_head", "connection_keys", "environ", "repeated_head")

    def __init__(self, connection_keys: dict[str, Any]) -> None:
        self.connection_keys = connection_keys
        self.repeated_head: RequestHead | None = None
        self.environ: dict[str, Any] = {}
        self._previous_head: RequestHead | None = None

    def remember(self, request: RequestHead, environ: dict[str, Any]) -> None:
        """This is the environ of a head, before there is anything in it of one request alone."""
        if request is self._previous_head:
            self.repeated_head, self.environ = request, environ.copy()
        self._previous_head = request


class EnvironBuilder:
    """Makes the environ of each request of one worker."""

    send_early_hints: HintSender
    """Set by the handler."""

    def __init__(
        self, multithread: bool, multiprocess: bool, root_path: str = "", id_header: str = ""
    ) -> None:
        self.multithread = multithread
        self._id_key = "HTTP_" + id_header.upper().replace("-", "_")
        self._template: dict[str, Any] = {
            "SCRIPT_NAME": root_path.encode().decode("latin-1"),
            "SERVER_SOFTWARE": "prefork",
            "wsgi.version": (1, 0),
            "wsgi.errors": error_stream(),
            "wsgi.input": EmptyInput(),
            "wsgi.multithread": multithread,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
            # Of the connection and the head.
            **dict.fromkeys(_REQUEST_KEYS, ""),
        }
        # A copy has as much room as its original: it must not grow with every request.
        fields = dict.fromkeys(map(str, range(_TYPICAL_FIELDS)))
        self._template |= fields
        for field in fields:
            del self._template[field]

    def build(self, exchange: Exchange) -> dict[str, Any]:
        """A dict of the app's own: it may do with it what it likes."""
        connection, request = exchange.connection, exchange.request
        cached: _ConnectionEnviron = connection.handler_state or self._add_connection(connection)
        if cached.repeated_head is request:
            environ = cached.environ.copy()
        elif request.is_cached:
            environ = (request.handler_cache or self._derive_from_head(request)).copy()
            environ.update(cached.connection_keys)
            cached.remember(request, environ)
        elif type(request) is CachedFieldsHead:
            environ = (
                request.fields.handler_cache or self._derive_from_fields(request.fields)
            ).copy()
            environ.update(cached.connection_keys)
            _add_request_line(environ, request)
            if request.cookie is not None:
                environ["HTTP_COOKIE"] = request.cookie.decode("latin-1")
        else:
            environ = self._template.copy()
            environ.update(cached.connection_keys)
            _add_head(environ, request)
        body = exchange.body
        if type(body) is WholeBody:
            environ["wsgi.input"] = BytesIO(body.data)
        elif body is not None:
            environ["wsgi.input"] = body.file  # type: ignore[union-attr]
            # Known by now also for a chunked body, and some frameworks read no body without it.
            environ["CONTENT_LENGTH"] = str(body.size)  # type: ignore[union-attr]
        if request.forwarded is not None and (forwarded := exchange.forwarded) is not None:
            apply_to_environ(environ, forwarded)
        if exchange.request_id:
            environ["prefork.request_id"] = environ[self._id_key] = exchange.request_id
        return environ

    def _add_connection(self, connection: Connection) -> "_ConnectionEnviron":
        peer = connection.peer
        server, client = peer.server, peer.client
        connection_keys = {
            "wsgi.url_scheme": peer.scheme,
            "SERVER_NAME": server[0] if server else "localhost",
            "SERVER_PORT": str(server[1]) if server else "80",
            "REMOTE_ADDR": client[0] if client else "",
            "REMOTE_PORT": str(client[1]) if client else "",
            "wsgi.early_hints": EarlyHints(connection, self.send_early_hints),
        }
        if peer.tls is not None:
            connection_keys |= tls_environ(peer.tls)
        connection.handler_state = cached = _ConnectionEnviron(connection_keys)
        return cached

    def _derive_from_head(self, request: RequestHead) -> dict[str, Any]:
        """What all requests with this head share, and with all requests of the worker."""
        request.handler_cache = self._template.copy()
        _add_head(request.handler_cache, request)
        if request.length:
            # As for those that are not remembered: without leading zeros.
            request.handler_cache["CONTENT_LENGTH"] = str(request.length)
        return request.handler_cache

    def _derive_from_fields(self, fields: CachedFields) -> dict[str, Any]:
        """The same with these fields, whatever is asked for."""
        fields.handler_cache = self._template.copy()
        _add_fields(fields.handler_cache, fields.headers)
        return fields.handler_cache


def _add_head(environ: dict[str, Any], request: RequestHead) -> None:
    """Variables that follow from the request's head."""
    _add_request_line(environ, request)
    _add_fields(environ, request.headers)


def _add_request_line(environ: dict[str, Any], request: RequestHead) -> None:
    """Those of its first line."""
    path = request.path
    if b"%" in path:
        path = unquote_to_bytes(path)
    environ["REQUEST_METHOD"] = request.method
    environ["PATH_INFO"] = path.decode("latin-1")
    environ["QUERY_STRING"] = request.query.decode("latin-1") if request.query else ""
    # PATH_INFO is unquoted, so an escaped slash is lost in it. REQUEST_URI is how Apache, uWSGI and
    # PHP call the target as it was sent, RAW_URI is gunicorn's name.
    environ["REQUEST_URI"] = environ["RAW_URI"] = request.target.decode("latin-1")
    environ["SERVER_PROTOCOL"] = "HTTP/1.1" if request.version == "1.1" else "HTTP/1.0"


def _add_fields(environ: dict[str, Any], headers: list[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        key = _ENVIRON_KEYS.get(name)
        if key is None:
            key = _make_key(name)
        if key in environ:
            separator = "; " if key == "HTTP_COOKIE" else ","
            environ[key] += separator + value.decode("latin-1")
        else:
            environ[key] = value.decode("latin-1")


def _make_key(name: bytes) -> str:
    """``HTTP_…``."""
    key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
    if len(_ENVIRON_KEYS) < _MAX_ENVIRON_KEYS:
        _ENVIRON_KEYS[name] = key
    return key
