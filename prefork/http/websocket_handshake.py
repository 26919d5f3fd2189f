"""The opening handshake of a WebSocket (RFC 6455 section 4.2, RFC 7692): judged here, and answered.

The connection has seen to it that there is an Upgrade to websocket in a GET of HTTP/1.1 without a
body; key, version, subprotocols and extensions are looked at here. What is not in order never
reaches the app.
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
from prefork.http.websocket import ServerFrameProtocol, WebSocket

VERSION = b"13"
_UPGRADE_REQUIRED_FIELDS = (
    STATUS_LINES[426]
    + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: "
    + VERSION
    + b"\r\n"
)
_FIELD_PREFIX = b"sec-websocket-"

# 16 KB for the window and its table each way, as small as messages deserve; with zlib's own
# defaults it would be 300 KB for each WebSocket.
_DEFLATE = ServerPerMessageDeflateFactory(
    server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
)


class WebSocketHandshake:
    """A request that may become a WebSocket. ``refused``: it may not, and was answered."""

    def __init__(self, exchange: Exchange, log: logging.Logger) -> None:
        self._exchange = exchange
        limits = exchange.connection.server.limits.websocket
        # Open from the start: the library need not read the request, the connection has.
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
        # The path, like all else that concerns HTTP only, was judged when the request was read.
        self._response = self._frames.accept(Request("/", headers))
        self.subprotocols = [
            token
            for value in headers.get_all("Sec-WebSocket-Protocol")
            for token in (parse_subprotocol(value) if self._response.status_code == 101 else ())
        ]
        """As the client offers them."""
        self.is_refused = self._refuse_if_invalid()

    def _refuse_if_invalid(self) -> bool:
        exchange = self._exchange
        fields = exchange.request.headers
        versions = [value for name, value in fields if name == _FIELD_PREFIX + b"version"]
        if versions and versions != [VERSION]:
            text = b"the only version of WebSocket spoken here is %b\n" % VERSION
            exchange.respond(
                426, _UPGRADE_REQUIRED_FIELDS, [(b"Content-Type", b"text/plain")], text
            )
        elif self._response.status_code != 101:
            exchange.send_error(400, f"no WebSocket: {self._frames.handshake_exc}")
        return exchange.response_complete

    def accept(self, subprotocol: str | None, fields: Iterable[HeaderPair]) -> WebSocket:
        """Answer 101 and begin to speak frames. Raises ResponseError or ClientGoneError."""
        exchange = self._exchange
        connection = exchange.connection
        lines = [_encode_line(pair) for pair in fields]
        if subprotocol is not None:
            if subprotocol not in self.subprotocols:
                raise ResponseError(f"the client did not offer the subprotocol {subprotocol!r}")
            self._response.headers["Sec-WebSocket-Protocol"] = subprotocol
        if exchange.disconnected or connection.transport.is_closing():
            raise ClientGoneError("the client left before its WebSocket was accepted")
        head = self._response.serialize().removesuffix(b"\r\n")
        connection.transport.write(head + b"".join(lines) + b"\r\n")
        exchange.status = 101
        websocket = WebSocket(connection.server, self._frames)
        connection.switch_protocol(exchange, websocket)
        return websocket


def _encode_line(pair: HeaderPair) -> bytes:
    """A field that the app adds; those that are the server's business are left out."""
    line, meaning = encode_field(tuple(pair))  # type: ignore[arg-type]
    if line.lower().startswith(_FIELD_PREFIX):
        raise ResponseError(f"the handshake is the server's business, not {pair!r}")
    # A Date is there already, and a 101 must not have a Content-Length (RFC 9110 section 8.6).
    return b"" if meaning == DATE or meaning >= 0 else line
