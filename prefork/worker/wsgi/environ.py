"""The environ of a WSGI request (PEP 3333): server, connection, request head, body.

Little of it changes from one request of a client to the next. So it is copied from what was made
for the connection, and completed with what follows from the head.

Design
------
- **No dict, list or attribute that an app may change is shared between requests,** except
  ``wsgi.errors`` and the class ``wsgi.file_wrapper``, where PEP 3333 leaves no other way. Read-only
  mappings were rejected: apps write into environ, copy and pickle it.
"""

from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from prefork.http.body import WholeBody
from prefork.http.connection_cache import ConnectionCache
from prefork.http.exchange import ClientConnection, Exchange
from prefork.http.request import ParsedHead
from prefork.unix.streams import error_stream
from prefork.worker.request.proxy_headers import apply_to_environ
from prefork.worker.request.tls_info import tls_environ
from prefork.worker.wsgi.file_wrapper import FileWrapper

_ENVIRON_KEYS: dict[bytes, str] = {
    b"content-type": "CONTENT_TYPE",
    b"content-length": "CONTENT_LENGTH",
}
"""Environ keys by header name. Bounded, because clients may invent names."""

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
"""Keys that the connection and the request head set; the template has them empty."""
_TYPICAL_FIELDS = 8
"""Header fields of a typical request."""

Hints = Iterable[tuple[str, str]]
"""Header fields of early hints, as the app gives them."""
HintSender = Callable[[Exchange, Hints], None]
"""Sends early hints for a request."""


class EarlyHints:
    """``wsgi.early_hints``: called with header fields such as ``("Link", …)``, sends a 103.

    One object serves a connection that answers its requests one by one, for the request that it
    answers at the moment. On a multiplexed connection each request has its own. ``__slots__`` keeps
    an app from leaving attributes on it for the next request.
    """

    __slots__ = ("_connection", "_exchange", "_send")

    def __init__(
        self,
        connection: ClientConnection,
        send_early_hints: HintSender,
        exchange: Exchange | None = None,
    ) -> None:
        """``exchange``: None for the one that the connection answers when it is called."""
        self._connection = connection
        self._send = send_early_hints
        self._exchange = exchange

    def __call__(self, headers: Hints) -> None:
        exchange = self._exchange or self._connection.take_turn()
        if exchange is not None:
            self._send(exchange, headers)


class EmptyInput:
    """``wsgi.input`` of a request without a body. One object serves all: it has no state, and
    ``__slots__`` keeps apps from leaving attributes on it."""

    __slots__ = ()

    def read(self, _size: int = -1) -> bytes:
        """Return the empty string."""
        return b""

    def readline(self, _size: int = -1) -> bytes:
        """Return the empty string."""
        return b""

    def readlines(self, _hint: int = -1) -> list[bytes]:
        """Return an empty list."""
        return []

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        """Do nothing."""


class EnvironBuilder:
    """Builds the environ of each request of one worker."""

    send_early_hints: HintSender
    """Set by the handler."""

    def __init__(
        self, multithread: bool, multiprocess: bool, root_path: str = "", id_header: str = ""
    ) -> None:
        """``multithread`` and ``multiprocess``: as in PEP 3333. ``root_path``: the path below which
        the app is mounted (SCRIPT_NAME). ``id_header``: the header that carries the request id."""
        self.multithread = multithread
        self.apply_forwarded = apply_to_environ
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
            **dict.fromkeys(_REQUEST_KEYS, ""),
        }
        # A dict that once held more keys keeps their room, and so do its copies: the fields of a
        # typical request fit without growing each copy.
        fields = dict.fromkeys(map(str, range(_TYPICAL_FIELDS)))
        self._template |= fields
        for field in fields:
            del self._template[field]

    def build(self, exchange: Exchange) -> dict[str, Any]:
        """Build the environ of a request. It belongs to the app, which may change all of it."""
        connection, request = exchange.connection, exchange.request
        cached = connection.cache or self.add_connection(connection)
        environ = cached.keys.copy()
        if isinstance(request, ParsedHead):
            _add_head(environ, request)
        else:
            request.add_to_environ(environ)  # type: ignore[attr-defined]  # a PlainHead
        body = exchange.body
        if type(body) is WholeBody:
            environ["wsgi.input"] = BytesIO(body.data)
        elif body is not None:
            environ["wsgi.input"] = body.file  # type: ignore[union-attr]
            # The length of a chunked body is known by now. Some frameworks read no body without
            # CONTENT_LENGTH, although wsgi.input_terminated is set.
            environ["CONTENT_LENGTH"] = str(body.size)  # type: ignore[union-attr]
        if request.forwarded is not None and (forwarded := exchange.forwarded) is not None:
            apply_to_environ(environ, forwarded)
        if cached.is_multiplexed:
            hints = EarlyHints(connection, self.send_early_hints, exchange)
            environ["wsgi.early_hints"] = hints
        if exchange.request_id:
            environ["prefork.request_id"] = environ[self._id_key] = exchange.request_id
        return environ

    def add_connection(self, connection: ClientConnection) -> ConnectionCache:
        """Make the cached parts for a connection, at its first request."""
        peer = connection.peer
        server, client = peer.server, peer.client
        connection_keys = {
            **self._template,
            "wsgi.url_scheme": peer.scheme,
            "SERVER_NAME": server[0] if server else "localhost",
            "SERVER_PORT": str(server[1]) if server else "80",
            "REMOTE_ADDR": client[0] if client else "",
            "REMOTE_PORT": str(client[1]) if client else "",
            "wsgi.early_hints": EarlyHints(connection, self.send_early_hints),
        }
        if peer.tls is not None:
            connection_keys |= tls_environ(peer.tls)
        connection.cache = cached = ConnectionCache(
            connection_keys, None, connection.is_multiplexed
        )
        return cached


def _add_head(environ: dict[str, Any], request: ParsedHead) -> None:
    """Set the variables that follow from the request head, as PlainHead.add_to_environ does."""
    path = request.path
    if b"%" in path:
        path = unquote_to_bytes(path)
    environ["REQUEST_METHOD"] = request.method
    environ["PATH_INFO"] = path.decode("latin-1")
    environ["QUERY_STRING"] = request.query.decode("latin-1") if request.query else ""
    # PATH_INFO is unquoted, so an escaped slash is lost in it. REQUEST_URI is the name of the
    # target as it was sent in Apache, uWSGI and PHP, RAW_URI the one in gunicorn.
    environ["REQUEST_URI"] = environ["RAW_URI"] = request.target.decode("latin-1")
    environ["SERVER_PROTOCOL"] = "HTTP/1.1" if request.version == "1.1" else "HTTP/1.0"
    for name, value in request.headers:
        key = _ENVIRON_KEYS.get(name)
        if key is None:
            key = _make_key(name)
        if key in environ:
            separator = "; " if key == "HTTP_COOKIE" else ","
            environ[key] += separator + value.decode("latin-1")
        else:
            environ[key] = value.decode("latin-1")


def _make_key(name: bytes) -> str:
    """Return the ``HTTP_…`` variable for a header name, and keep it for the next request."""
    key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
    if len(_ENVIRON_KEYS) < _MAX_ENVIRON_KEYS:
        _ENVIRON_KEYS[name] = key
    return key
