"""WSGI (PEP 3333) over an Exchange: in the event loop's own thread, or in a pool of threads.

In the loop's thread one request runs at a time, but slow clients never hold it: the body is spooled
before the call, and the response is pulled piece by piece, one a turn of the loop, only while the
client keeps up. In a thread the call blocks where a client is slow, and the loop goes on.
"""

import asyncio
import logging
import sys
from asyncio import _set_running_loop as set_running_loop
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote_to_bytes

from prefork.errors import ClientGoneError
from prefork.http.connection import Connection
from prefork.http.exchange import Exchange
from prefork.http.head import WSGI_STATUSES, ResponseError, learn_status
from prefork.http.request import RequestHead
from prefork.worker.behind import into_environ
from prefork.worker.line import Line
from prefork.worker.load import own_traceback
from prefork.worker.secured import environ_of

_KEYS: dict[bytes, str] = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}
"""Header names as environ keys; bounded, for clients that invent names."""

_MOST_KEYS = 1024
_END: Any = object()


class WsgiHandler:
    """Calls the app for each request of one worker."""

    streams = False
    upgrade = None

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        line: Line,
        log: logging.Logger,
        threads: int,
        multiprocess: bool,
        root_path: str = "",
        id_header: str = "",
    ) -> None:
        self.app = app
        self.line = line
        self.log = log
        self.id_key = "HTTP_" + id_header.upper().replace("-", "_")
        self.threads = ThreadPoolExecutor(threads, "prefork-wsgi") if threads else None
        self.cancels = self.threads is None
        self.loop = asyncio.get_running_loop()
        if self.threads is None:
            # The app is no part of our loop: it may want to run one of its own, as async views do.
            # Hidden once and for all, because each change costs a system call (getpid).
            self.loop.call_soon(set_running_loop, None)
        self._template: dict[str, Any] = {
            "SCRIPT_NAME": root_path.encode().decode("latin-1"),
            "SERVER_SOFTWARE": "prefork",
            "wsgi.version": (1, 0),
            "wsgi.errors": sys.stderr,
            "wsgi.input": NoInput(),
            "wsgi.multithread": threads > 0,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }

    def handle(self, exchange: Exchange) -> None:
        """Call the app, here or in a thread."""
        environ = self._environ(exchange)
        if self.threads is None:
            self.line.beat()
            Call(self, exchange).run(environ)
        else:
            self.threads.submit(ThreadCall(self, exchange, self.loop).run, environ)

    async def finish(self) -> None:
        """Wait for threads that go on after their response."""
        if self.threads is not None:
            await self.loop.run_in_executor(None, self.threads.shutdown)

    def overdue(self, exchange: Exchange) -> None:
        """A thread is stuck, which only the master can end; or an iterable yields nothing."""
        self.log.error("no answer in time: %s", _shown(exchange.request))
        if self.cancels:
            exchange.fail()

    def lost(self, exchange: Exchange) -> None:
        """The next piece that is pulled or sent finds out."""

    def _environ(self, exchange: Exchange) -> dict[str, Any]:
        connection, request = exchange.connection, exchange.request
        environ = (connection.shared or self._template_for(connection)).copy()
        if request.recurring:
            environ.update(request.derived or _remember(request))
        else:
            _add_head(environ, request)
        if exchange.body is not None:
            environ["wsgi.input"] = exchange.body.file  # type: ignore[union-attr]
            # Known by now also for a chunked body, and some frameworks read no body without it.
            environ["CONTENT_LENGTH"] = str(exchange.body.size)  # type: ignore[union-attr]
        if request.origin is not None and (origin := exchange.origin) is not None:
            into_environ(environ, origin)
        if exchange.id:
            environ["prefork.request_id"] = environ[self.id_key] = exchange.id
        return environ

    def _template_for(self, connection: Connection) -> dict[str, Any]:
        """The part of environ that all requests of a connection share."""
        peer = connection.peer
        server, client = peer.server, peer.client
        connection.shared = self._template | {
            "wsgi.url_scheme": peer.scheme,
            "SERVER_NAME": server[0] if server else "localhost",
            "SERVER_PORT": str(server[1]) if server else "80",
            "REMOTE_ADDR": client[0] if client else "",
            "REMOTE_PORT": str(client[1]) if client else "",
        }
        if peer.tls is not None:
            connection.shared |= environ_of(peer.tls)
        return connection.shared


def _remember(request: RequestHead) -> dict[str, Any]:
    """The part of environ that all requests with this head share."""
    request.derived = {}
    _add_head(request.derived, request)
    return request.derived


def _add_head(environ: dict[str, Any], request: RequestHead) -> None:
    """Variables that follow from the request's head."""
    path = request.path
    if b"%" in path:
        path = unquote_to_bytes(path)
    environ["REQUEST_METHOD"] = request.method
    environ["PATH_INFO"] = path.decode("latin-1")
    environ["QUERY_STRING"] = request.query.decode("latin-1") if request.query else ""
    environ["SERVER_PROTOCOL"] = "HTTP/1.1" if request.version == "1.1" else "HTTP/1.0"
    for name, value in request.headers:
        key = _KEYS.get(name)
        if key is None:
            key = _new_key(name)
        if key in environ:
            joint = "; " if key == "HTTP_COOKIE" else ","
            environ[key] += joint + value.decode("latin-1")
        else:
            environ[key] = value.decode("latin-1")


class NoInput:
    """``wsgi.input`` of a request without a body; one for all, because it has no state."""

    def read(self, _size: int = -1) -> bytes:
        """Nothing."""
        return b""

    def readline(self, _size: int = -1) -> bytes:
        """Nothing."""
        return b""

    def readlines(self, _hint: int = -1) -> list[bytes]:
        """No lines."""
        return []

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        """Nothing to close."""


def _new_key(name: bytes) -> str:
    """``HTTP_…``."""
    key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
    if len(_KEYS) < _MOST_KEYS:
        _KEYS[name] = key
    return key


class Call:
    """One call of the app, in the loop's thread."""

    _status = 0
    _line = b""
    _fields: list[tuple[str, str]] = []  # noqa: RUF012 - replaced, never changed
    _begun = False
    _result: Iterable[bytes] = ()
    _pieces: Iterator[bytes] = iter(())

    def __init__(self, handler: WsgiHandler, exchange: Exchange) -> None:
        self._handler = handler
        self._exchange = exchange

    def run(self, environ: dict[str, Any]) -> None:
        """Call the app and send what it returns. Never raises."""
        try:
            result = self._handler.app(environ, self.start_response)
            kind = type(result)
            if (kind is list or kind is tuple) and len(result) == 1 and not self._begun:  # type: ignore[arg-type]
                self._answer(result[0])  # type: ignore[index]
                return
            self._result, self._pieces = result, iter(result)
        except BaseException as error:
            self._fail(error)
            return
        self._pull()

    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: Any = None,
    ) -> Callable[[bytes], None]:
        """PEP 3333, "The start_response() Callable"."""
        if exc_info is not None:
            try:
                if self._exchange.out:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._status:
            raise ResponseError("start_response was called twice without exc_info")
        self._status, self._line = WSGI_STATUSES.get(status) or learn_status(status)
        self._fields = headers
        return self.write

    def write(self, data: bytes) -> None:
        """The imperative way to send (PEP 3333, "The write() Callable")."""
        self._begin(None)
        self._exchange.send(data)
        self._exchange.flush()

    def _begin(self, length: int | None) -> None:
        if not self._begun:
            if not self._status:
                raise ResponseError("the app returned without calling start_response")
            self._begun = True
            self._exchange.start(self._status, self._line, self._fields, length)

    def _answer(self, body: bytes) -> None:
        """The whole response is known."""
        if not self._status:
            raise ResponseError("the app returned without calling start_response")
        if type(body) is not bytes:
            raise ResponseError(f"the app returned {type(body).__name__} where bytes belong")
        exchange = self._exchange
        exchange.answer(self._status, self._line, self._fields, body)
        if exchange.body is not None:
            exchange.body.lose()

    def _pull(self) -> None:
        """Send the next piece; come back when the loop has flushed it and the client wants more."""
        exchange = self._exchange
        try:
            if exchange.gone or exchange.ended:
                self._close()
                return
            self._handler.line.beat()
            piece = next(self._pieces, _END)
            if piece is _END:
                self._begin(None if self._begun else 0)
                exchange.finish()
                self._close()
                return
            self._send(piece)
        except BaseException as error:
            self._fail(error)
            return
        loop = exchange.connection.service.loop
        if (blocked := exchange.connection.blocked()) is not None:
            blocked.add_done_callback(lambda _: self._pull())
        else:
            loop.call_soon(self._pull)

    def _send(self, piece: bytes) -> None:
        """PEP 3333: no piece may be delayed, and the head goes with the first that is not empty."""
        if self._exchange.gone:
            raise ClientGoneError("the client left before the response ended")
        if not isinstance(piece, bytes):
            raise ResponseError(f"the app yielded {type(piece).__name__} where bytes belong")
        if piece:
            self._begin(None)
            self._exchange.send(piece)

    def _close(self) -> None:
        """The app's own close(), then the request's body."""
        close = getattr(self._result, "close", None)
        self._result, self._pieces = (), iter(())
        if close is not None:
            try:
                close()
            except BaseException as error:
                self._log(error)
        self._close_input()

    def _close_input(self) -> None:
        body = self._exchange.body
        if body is not None:
            body.lose()

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, ClientGoneError):
            self._log(error)
        self._exchange.fail()
        self._close()

    def _log(self, error: BaseException) -> None:
        trace = own_traceback(error).rstrip()
        self._handler.log.error("the app failed on %s\n%s", _shown(self._exchange.request), trace)


class ThreadCall(Call):
    """One call of the app in a thread; everything that touches the exchange runs in the loop."""

    def __init__(
        self, handler: WsgiHandler, exchange: Exchange, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(handler, exchange)
        self._loop = loop

    def run(self, environ: dict[str, Any]) -> None:
        """In the thread."""
        try:
            self._result = result = self._handler.app(environ, self.start_response)
            kind = type(result)
            if (kind is list or kind is tuple) and len(result) == 1 and not self._begun:  # type: ignore[arg-type]
                self._in_loop(self._answer, result[0])  # type: ignore[index]
                return
            for piece in result:
                self._in_loop(self._send, piece)
            self._in_loop(self._finish)
        except BaseException as error:
            self._loop.call_soon_threadsafe(self._fail_in_loop, error)
        self._close_result()

    def write(self, data: bytes) -> None:
        """In the thread."""
        self._in_loop(super().write, data)

    def _in_loop(self, act: Callable[..., None], *arguments: Any) -> None:
        """Run it in the loop, wait until the client has caught up, and raise what it raised."""

        async def acting() -> None:
            act(*arguments)
            blocked = self._exchange.connection.blocked()
            if blocked is not None and not self._exchange.ended:
                await blocked

        asyncio.run_coroutine_threadsafe(acting(), self._loop).result()

    def _finish(self) -> None:
        self._begin(None if self._begun else 0)
        self._exchange.finish()

    def _fail_in_loop(self, error: BaseException) -> None:
        if not isinstance(error, ClientGoneError):
            self._log(error)
        self._exchange.fail()

    def _close_result(self) -> None:
        result, self._result = self._result, ()
        if (close := getattr(result, "close", None)) is not None:
            try:
                close()
            except BaseException as error:
                self._log(error)
        self._loop.call_soon_threadsafe(self._close_input)


def _shown(request: RequestHead) -> str:
    return f"{request.method} {request.target[:200].decode('latin-1')}"
