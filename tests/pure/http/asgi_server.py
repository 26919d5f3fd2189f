"""ASGI apps over HTTP in memory, and responses as h11 reads them.

An app is the shortest way to say what a response is: it streams, waits, fails and closes as apps
do. h11 reads each response as a client that allows no breach of RFC 9112.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import h11

from prefork import _speed
from prefork.http import response_head
from prefork.http.limits import Limits
from prefork.http.server_state import RequestHandler
from prefork.worker.asgi.asgi_handler import AsgiHandler
from tests.fuzz.memory import Client, MemoryServer

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Event, Receive, Send], Awaitable[None]]
Field = tuple[bytes, bytes]


class AsgiServer(MemoryServer):
    """The HTTP part of a worker that serves an ASGI app."""

    def __init__(self, app: App, limits: Limits | None = None) -> None:
        self._app = app
        self.log = logging.Logger("app")
        self.log.addHandler(logging.NullHandler())
        super().__init__(True, limits)
        self._use_compiled_calls()

    def _make_handler(self) -> RequestHandler:
        async def make() -> AsgiHandler:
            return AsgiHandler(self._app, self.log, None)

        self.handler = self.loop.run_until_complete(make())
        return self.handler

    def _use_compiled_calls(self) -> None:
        if _speed.IS_COMPILED:
            handler = self.handler
            self.state.plain_calls = _speed.AsgiCalls(
                handler, handler.scopes, handler.start_task, response_head
            )

    def run(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call the server's code from within the loop, where tasks can be started."""
        self.loop.call_soon(callback, *arguments)
        self.settle()

    def __exit__(self, *exc_info: object) -> None:
        for call in list(self.handler.running):
            if call.task is not None:
                call.task.cancel()
        self.settle()
        super().__exit__(*exc_info)


def start(status: int = 200, *fields: Field, trailers: bool = False) -> Event:
    """Return the event that begins a response."""
    begin = {"type": "http.response.start", "status": status, "headers": fields}
    return {**begin, "trailers": True} if trailers else begin


def body(data: bytes = b"", more: bool = False) -> Event:
    """Return the event for a piece of a body; the last one, unless there is ``more``."""
    return {"type": "http.response.body", "body": data, "more_body": more}


def anonymous_tls() -> ssl.SSLObject:
    """Return the server's side of a TLS connection whose handshake has ended.

    Its cipher needs no certificate. Both ends are in memory.
    """
    sides = []
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    for protocol, pipes in (
        (ssl.PROTOCOL_TLS_SERVER, (there, back)),
        (ssl.PROTOCOL_TLS_CLIENT, (back, there)),
    ):
        context = ssl.SSLContext(protocol)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("aNULL:@SECLEVEL=0")
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        sides.append(context.wrap_bio(*pipes, server_side=protocol is ssl.PROTOCOL_TLS_SERVER))
    server, client = sides
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert server.version() == "TLSv1.2"
    return server


def sending(*events: Event) -> App:
    """Return an app that sends these events in answer to each request."""

    async def app(_scope: Event, _receive: Receive, send: Send) -> None:
        for event in events:
            await send(event)

    return app


class Gate:
    """Holds an app until the test opens it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    async def wait(self) -> None:
        await self._event.wait()

    def open(self, server: MemoryServer) -> None:
        """Let the app go on, and wait for what it does next."""
        self._event.set()
        server.settle()


def request(
    target: bytes = b"/", *fields: bytes, method: bytes = b"GET", version: bytes = b"1.1"
) -> bytes:
    """Return the bytes of a request without a body."""
    lines = [b"%b %b HTTP/%b" % (method, target, version), b"Host: a", *fields, b"", b""]
    return b"\r\n".join(lines)


@dataclass(frozen=True)
class Response:
    """A response as the client understands it. Names of fields in lower case, without Date."""

    status: int
    fields: dict[bytes, bytes]
    body: bytes = b""
    trailers: tuple[Field, ...] = ()

    @property
    def closes(self) -> bool:
        """Return whether the server says that the connection ends with this response."""
        return self.fields.get(b"connection") == b"close"


def read_responses(client: Client, *methods: bytes) -> list[Response]:
    """Return all responses of a connection, interim ones included.

    ``methods``: those of the requests; default: GET. Raises h11.RemoteProtocolError for bytes that
    are no responses, and for a response that the end of the connection cuts off.
    """
    reader = h11.Connection(h11.CLIENT)
    reader.receive_data(bytes(client.transport.out))
    if client.closed:
        reader.receive_data(b"")
    found: list[Response] = []
    for method in methods or (b"GET",):
        reader.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        reader.send(h11.EndOfMessage())
        found += _read_response(reader)
        if reader.our_state is not h11.DONE or reader.their_state is not h11.DONE:
            break
        reader.start_next_cycle()
    return found


def _read_response(reader: h11.Connection) -> list[Response]:
    """Read one response, with the interim ones before it; an incomplete one is left out."""
    found: list[Response] = []
    data = b""
    while True:
        match reader.next_event():
            case h11.InformationalResponse() as interim:
                found.append(Response(interim.status_code, dict(interim.headers)))
            case h11.Response() as response:
                head = response
            case h11.Data() as piece:
                data += bytes(piece.data)
            case h11.EndOfMessage() as end:
                fields = {name: value for name, value in head.headers if name != b"date"}
                return [*found, Response(head.status_code, fields, data, tuple(end.headers))]
            case _:
                return found


def read_response(client: Client, method: bytes = b"GET") -> Response:
    """Return the only response of a connection. Raises as ``read_responses`` does."""
    (response,) = read_responses(client, method)
    return response


@contextmanager
def serving(
    app: App, *pieces: bytes, limits: Limits | None = None, swallows: int | None = None
) -> Iterator[Client]:
    """Serve one client with an app, and yield it when it has sent its bytes; default: a GET."""
    with AsgiServer(app, limits) as server:
        yield server.connect(swallows).send(*(pieces or (request(),)))
