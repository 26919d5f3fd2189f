"""The responses of one connection as HTTP/1.1 frames them (RFC 9112).

What a response means is decided by the exchange (exchange.py). Here it becomes bytes: the end of
the head, with ``Connection``, chunks for a body of unknown length, and one write for a head with
the first piece of its body. No other module writes a response to the transport.
"""

import asyncio
from collections.abc import Callable, Iterable

from prefork.http import response_head
from prefork.http.exchange import Exchange
from prefork.http.flow_control import FlowControl
from prefork.http.http1.sendfile import FileTransfer
from prefork.http.response_head import HEAD_END, JOIN_BELOW, DefaultFields, HeaderPair

Composer = Callable[[bytes, Iterable[HeaderPair], bytes, bytes, bytes], bytes | None]
"""Takes status line, fields, lines that every response has, end of the head, and body. Returns the
whole response, or None if something in it has to be decided (_speed/response_composer.pyx)."""


class Http1Sink:
    """The ResponseSink of an HTTP/1.1 connection.

    All its exchanges share it, because they are answered one after the other. It keeps nothing of
    any of them.
    """

    __slots__ = ("_compose", "flow", "transport")

    def __init__(
        self, transport: asyncio.Transport, flow: FlowControl, compose: Composer | None
    ) -> None:
        """``compose``: None in the pure build."""
        self._compose = compose
        self.transport = transport
        self.flow = flow

    def is_closing(self) -> bool:
        """Return whether the transport drops what it is given."""
        return self.transport.is_closing()

    def send_usual(
        self, exchange: Exchange, line: bytes, fields: Iterable[HeaderPair], body: bytes
    ) -> bytes | None:
        """Compose and send a response in which nothing has to be decided. Return what was sent, or
        None for any other response."""
        if self._compose is None or len(body) >= JOIN_BELOW or exchange.request.version != "1.1":
            return None
        end = HEAD_END if exchange.keep_alive else response_head.HEAD_END_CLOSE
        response = self._compose(line, fields, DefaultFields.lines, end, body)
        if response is not None:
            self.transport.write(response)
        return response

    def send_response(self, exchange: Exchange, head: list[bytes], body: bytes) -> None:
        """Send a head and the body behind it in one write."""
        if not exchange.keep_alive:
            head.append(response_head.HEAD_END_CLOSE)
        elif exchange.request.version == "1.1":
            head.append(HEAD_END)
        else:
            head.append(response_head.HEAD_END_KEEP_ALIVE)
        if len(body) < JOIN_BELOW:
            head.append(body)
            self.transport.write(b"".join(head))
        else:
            self.transport.writelines((b"".join(head), body))

    def frame_unknown_length(self, exchange: Exchange, head: list[bytes]) -> None:
        """Prepare for a body that ends with a last chunk, or, for HTTP/1.0, with the connection."""
        if exchange.request.version == "1.1":
            head.append(response_head.CHUNKED_LINE)
        else:
            exchange.keep_alive = False

    def write(self, exchange: Exchange, head: list[bytes] | None, data: bytes) -> None:
        """Send a piece of the body, as a chunk if its length was unknown."""
        if data and _is_chunked(exchange):
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._write(exchange, head, data)

    def end(
        self, exchange: Exchange, head: list[bytes] | None, data: bytes, trailers: bytes
    ) -> None:
        """Send the last piece of the body, with the last chunk if its length was unknown."""
        if _is_chunked(exchange):
            last = b"0\r\n%b\r\n" % trailers if trailers else b"0\r\n\r\n"
            data = b"%x\r\n%b\r\n%b" % (len(data), data, last) if data else last
        self._write(exchange, head, data)

    def _write(self, exchange: Exchange, head: list[bytes] | None, data: bytes) -> None:
        if head is None:
            if data:
                self.transport.write(data)
        else:
            self.send_response(exchange, head, data)

    def send_interim(self, status: int, lines: bytes) -> None:
        """Send an interim response (RFC 9110 section 15.2): 100 Continue, 103 Early Hints."""
        self.transport.write(b"%b%b\r\n" % (response_head.STATUS_LINES[status], lines))

    async def send_file(self, exchange: Exchange, fd: int, offset: int, count: int) -> int:
        """Send ``count`` bytes of a file by sendfile(2), and return how many were sent.

        Encrypted and chunked bytes pass through the process, so none of those are sent here.
        """
        if _is_chunked(exchange) or exchange.connection.peer.tls is not None:
            return 0
        transfer = FileTransfer(exchange, self.transport, self.flow)
        return await transfer.send(fd, offset, count)


def _is_chunked(exchange: Exchange) -> bool:
    return exchange.has_unknown_length and exchange.request.version == "1.1"
