"""Validate and answer the opening handshake of a WebSocket (RFC 6455 section 4.2, RFC 7692).

The connection has already checked that the request is a GET of HTTP/1.1 without a body and with an
Upgrade to websocket. This module checks key, version, subprotocols and extensions. A handshake
that fails these checks is answered here and never reaches the app.

Design
------
- **Compression uses windows of 4 KB** (12 bits, memLevel 5) in both directions where the client
  allows it. An open WebSocket costs 11 KB, with compression 44 KB; zlib's defaults would cost
  about 300 KB.
"""

import logging
from collections.abc import Iterable

from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.headers import parse_subprotocol
from websockets.http11 import Request
from websockets.protocol import State

from prefork.errors import ClientGoneError
from prefork.http.exchange import Exchange
from prefork.http.response_head import DATE, STATUS_LINES, HeaderPair, ResponseError, encode_field
from prefork.http.websocket.websocket import ServerFrameProtocol, WebSocket

VERSION = b"13"
_UPGRADE_REQUIRED_HEAD = (
    STATUS_LINES[426]
    + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: "
    + VERSION
    + b"\r\n"
)
_FIELD_PREFIX = b"sec-websocket-"

# 16 KB for the window and its hash table in each direction; see Design.
_DEFLATE = ServerPerMessageDeflateFactory(
    server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
)


class WebSocketHandshake:
    """The handshake of one request.

    Creating it validates the request. ``is_refused``: the request was not valid, and an error
    response (400 or 426) was sent. Otherwise the caller calls ``accept``, or answers the exchange
    with a refusal of the app's.
    """

    def __init__(self, exchange: Exchange, log: logging.Logger) -> None:
        self._exchange = exchange
        limits = exchange.connection.server.limits.websocket
        # The state is OPEN from the start: the connection has read the request, not the library.
        self._frames = ServerFrameProtocol(
            state=State.OPEN,
            extensions=[_DEFLATE] if limits.compression else None,
            max_size=limits.max_size,
            logger=log,
        )
        headers = Headers([("Connection", "Upgrade"), ("Upgrade", "websocket")])
        for name, value in exchange.request.headers:
            if name.startswith(_FIELD_PREFIX):
                headers[name.decode("latin-1")] = value.decode("latin-1")
        # The library does not need the path: HTTP was validated when the request was read.
        self._response = self._frames.accept(Request("/", headers))
        self.subprotocols = [
            token
            for value in headers.get_all("Sec-WebSocket-Protocol")
            for token in (parse_subprotocol(value) if self._response.status_code == 101 else ())
        ]
        """The subprotocols that the client offers, in its order of preference."""
        self.is_refused = self._refuse_if_invalid()

    def _refuse_if_invalid(self) -> bool:
        """Answer an invalid request with 426 (another version) or 400; return whether it was."""
        exchange = self._exchange
        fields = exchange.request.headers
        versions = [value for name, value in fields if name == _FIELD_PREFIX + b"version"]
        if versions and versions != [VERSION]:
            text = b"the only supported version of WebSocket is %b\n" % VERSION
            exchange.respond(426, _UPGRADE_REQUIRED_HEAD, [(b"Content-Type", b"text/plain")], text)
        elif self._response.status_code != 101:
            exchange.send_error(400, f"invalid WebSocket handshake: {self._frames.handshake_exc}")
        return exchange.response_complete

    def accept(self, subprotocol: str | None, fields: Iterable[HeaderPair]) -> WebSocket:
        """Answer 101 and hand the connection to a new WebSocket, which is returned.

        ``subprotocol``: one of ``subprotocols``, or None. ``fields``: header fields of the app's
        for the response. Raises ResponseError for a subprotocol or a field that is not allowed,
        ClientGoneError when the client has disconnected.
        """
        exchange = self._exchange
        connection = exchange.connection
        lines = [_encode_line(pair) for pair in fields]
        if subprotocol is not None:
            if subprotocol not in self.subprotocols:
                raise ResponseError(f"the client did not offer the subprotocol {subprotocol!r}")
            self._response.headers["Sec-WebSocket-Protocol"] = subprotocol
        if exchange.disconnected or exchange.sink.is_closing():
            raise ClientGoneError("the client disconnected before its WebSocket was accepted")
        head = self._response.serialize().removesuffix(b"\r\n")
        websocket = WebSocket(connection.server, self._frames)
        connection.switch_protocol(exchange, head + b"".join(lines) + b"\r\n", websocket)
        return websocket


def _encode_line(pair: HeaderPair) -> bytes:
    """Encode a field that the app adds; empty for one that the server sets itself."""
    line, meaning = encode_field(tuple(pair))  # type: ignore[arg-type]
    if line.lower().startswith(_FIELD_PREFIX):
        raise ResponseError(f"the app may not set a field of the handshake: {pair!r}")
    # A Date is there already, and a 101 must not have a Content-Length (RFC 9110 section 8.6).
    return b"" if meaning == DATE or meaning >= 0 else line
