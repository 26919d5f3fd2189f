"""WSGI (PEP 3333) over an Exchange, in the event loop's own thread.

One request runs at a time, but slow clients never hold it: the body is spooled before the call, and
the response is pulled piece by piece, one a turn of the loop, only while the client keeps up.
wsgi_threads.py has the same in a pool of threads.
"""

import asyncio
import logging
from asyncio import _set_running_loop as set_running_loop
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from typing import Any

from prefork.errors import ClientGoneError
from prefork.http.connection import Connection
from prefork.http.exchange import Exchange
from prefork.http.response_head import (
    WSGI_STATUSES,
    ResponseError,
    encode_early_hints,
    encode_field,
    encode_wsgi_status,
)
from prefork.http.sendfile import send_file
from prefork.worker import fork_hooks
from prefork.worker.asgi.eager_tasks import EagerTasks
from prefork.worker.importer import format_app_traceback
from prefork.worker.master_channel import MasterChannel
from prefork.worker.wsgi.environ import EnvironBuilder, Hints
from prefork.worker.wsgi.file_wrapper import FileRange, FileWrapper, sendable_range

App = Callable[..., Any]

FINENESS = 0.05
"""Seconds within which the deadline of a call need not be renewed for another one."""

_END: Any = object()


class WsgiHandler:
    """Calls the app for each request of one worker."""

    streams_body = False
    can_cancel = True
    upgrade = None
    encode_field = staticmethod(encode_field)

    def __init__(
        self, app: App, line: MasterChannel, log: logging.Logger, environ: EnvironBuilder
    ) -> None:
        self.app = app
        self.log = log
        self.loop = asyncio.get_running_loop()
        self.beat = line.beat
        self.hold = line.count_timeout_from
        self._next_hold = 0.0
        environ.hint = self.hint
        self.environ = environ.of
        self.start = EagerTasks(self.loop).start
        if not environ.multithread:
            # The app is no part of our loop: it may want to run one of its own, as async views do.
            # Hidden once and for all, because each change costs a system call (getpid).
            self.loop.call_soon(set_running_loop, None)

    def handle(self, exchange: Exchange) -> None:
        """Call the app here."""
        environ = self.environ(exchange)
        if exchange.started_at > self._next_hold:
            # Not for each of a hundred thousand a second: it need not be that exact.
            self._next_hold = exchange.started_at + FINENESS
            self.hold(exchange.started_at)
        # One context for all of the call, whenever its pieces are pulled, and none of another's.
        context = copy_context()
        context.run(WsgiCall(self, exchange).run, environ, context)

    async def wait_for_calls(self) -> None:
        """Nothing goes on after its response."""

    def time_out(self, exchange: Exchange) -> None:
        """An iterable yields nothing."""
        self.log.error("no answer in time: %s", exchange.request.describe())
        exchange.fail()

    def client_disconnected(self, exchange: Exchange) -> None:
        """The next piece that is pulled finds out."""

    def hint(self, connection: Connection, headers: Hints) -> None:
        """Send early hints for the request that is being answered. Raises ResponseError."""
        if connection.current is not None:
            connection.current.send_early_hints(encode_early_hints(headers))


class WsgiCall:
    """One call of the app."""

    _line = b""
    _fields: list[tuple[str, str]] = []  # noqa: RUF012 - replaced, never changed
    _result: Any = ()
    _pieces: Iterator[bytes] = iter(())
    _context: Context | None = None
    """Of the app, while its pieces are pulled."""

    def __init__(self, handler: WsgiHandler, exchange: Exchange) -> None:
        self._handler = handler
        self._exchange = exchange
        self._status = 0
        self._begun = False
        """The head is made: what follows belongs to this response."""

    @property
    def exchange(self) -> Exchange:
        """What it answers."""
        return self._exchange

    def run(self, environ: dict[str, Any], context: Context) -> None:
        """Call the app and send what it returns. Never raises."""
        exchange = self._exchange
        try:
            self._result = result = self._handler.app(environ, self.start_response)
            if fork_hooks.in_child:
                fork_hooks.exit_child()
            kind, status = type(result), self._status
            if (kind is list or kind is tuple) and len(result) == 1 and status and not self._begun:
                body = result[0]
                if type(body) is bytes:
                    exchange.respond(status, self._line, self._fields, body)
                    if exchange.body is not None:
                        exchange.body.discard()
                    return
            if (rest := self._file()) is not None:
                self._context = context
                self._handler.start(self._send_file(rest))
                return
            self._pieces, self._context = iter(result), context
        except BaseException as error:
            self._fail(error)
            return
        self._pull()

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """PEP 3333, "The start_response() Callable"."""
        if exc_info is not None:
            try:
                self._replace(exc_info)
            finally:
                exc_info = None
        elif self._status:
            raise ResponseError("start_response was called twice without exc_info")
        self._status, self._line = WSGI_STATUSES.get(status) or encode_wsgi_status(status)
        self._fields = headers
        return self.write

    def write(self, data: bytes) -> None:
        """The imperative way to send (PEP 3333, "The write() Callable")."""
        self._begin(None)
        self._exchange.send(checked(data))
        self._exchange.send_headers()

    def _replace(self, exc_info: Any) -> None:
        """Make room for another response, unless bytes of this one are out."""
        if self._exchange.headers_sent:
            raise exc_info[1].with_traceback(exc_info[2])
        self._exchange.reset_response()
        self._begun = False

    def _begin(self, length: int | None) -> None:
        if not self._begun:
            self._must_have_started()
            self._exchange.start_response(self._status, self._line, self._fields, length)
            self._begun = True

    def _must_have_started(self) -> None:
        if not self._status:
            raise ResponseError("the app returned without calling start_response")

    def _pull(self) -> None:
        """Send the next piece; come back when the loop has flushed it and the client wants more."""
        exchange = self._exchange
        try:
            if exchange.disconnected or exchange.response_complete or self._send_next():
                self._close()
                return
        except BaseException as error:
            self._fail(error)
            return
        blocked = exchange.connection.writable_waiter()
        if blocked is not None:
            blocked.add_done_callback(lambda _: self._pull(), context=self._context)
        else:
            self._handler.loop.call_soon(self._pull, context=self._context)

    def _send_next(self) -> bool:
        """Whether that was the end. PEP 3333: no piece may be delayed, and the head goes with the
        first that is not empty."""
        exchange = self._exchange
        while True:
            self._handler.beat()
            piece = next(self._pieces, _END)
            if fork_hooks.in_child:
                fork_hooks.exit_child()
            if piece is _END:
                self._begin(None if self._begun else 0)
                exchange.finish()
                return True
            if not checked(piece):
                return False
            self._begin(None)
            exchange.send(piece)
            # With all of its Content-Length sent, the app has only to say that it is done.
            if exchange.remaining != 0:
                return False

    def _file(self) -> FileRange | None:
        """The file that the app returned, if it can be sent without being read."""
        result = self._result
        return sendable_range(result) if type(result) is FileWrapper and not self._begun else None

    async def _send_file(self, rest: FileRange) -> None:
        try:
            await self._send_rest(rest)
        except BaseException as error:
            self._log(error)
            self._exchange.fail()
        # The task has a copy of the call's context, in which the app's close() could not reset
        # what the app set (PEP 567: a token belongs to its context).
        self._handler.loop.call_soon(self._close, context=self._context)

    async def _send_rest(self, rest: FileRange) -> None:
        """As much of the file as the app's Content-Length says."""
        exchange = self._exchange
        exchange.truncates_body = True
        self._begin(rest.count)
        count = rest.count if exchange.remaining is None else exchange.remaining
        await send_file(exchange, rest.fd, rest.offset, count)
        exchange.finish()

    def _close(self) -> None:
        """The app's own close(), then the request's body."""
        self._close_result()
        self._close_input()

    def _close_result(self) -> None:
        close = getattr(self._result, "close", None)
        self._result, self._pieces = (), iter(())
        if close is not None:
            try:
                close()
            except BaseException as error:
                self._log(error)
            if fork_hooks.in_child:
                fork_hooks.exit_child()

    def _close_input(self) -> None:
        if self._exchange.body is not None:
            self._exchange.body.discard()

    def _fail(self, error: BaseException) -> None:
        self._log(error)
        self._exchange.fail()
        self._close()

    def _log(self, error: BaseException) -> None:
        if fork_hooks.in_child:
            fork_hooks.exit_child(error)
        if not isinstance(error, ClientGoneError):
            trace = format_app_traceback(error).rstrip()
            what = self._exchange.request.describe()
            self._handler.log.error("the app failed on %s\n%s", what, trace)


def checked(piece: bytes) -> bytes:
    """What the app sends, if it can be sent. Raises ResponseError."""
    if not isinstance(piece, bytes):
        raise ResponseError(f"the app sent {type(piece).__name__} where bytes belong")
    return piece
