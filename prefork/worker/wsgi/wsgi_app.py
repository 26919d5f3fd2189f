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

TIMEOUT_RESOLUTION = 0.05
"""Seconds within which the deadline of a call need not be renewed for another one."""

_END: Any = object()


class WsgiHandler:
    """Calls the app for each request of one worker."""

    streams_body = False
    can_cancel = True
    upgrade = None
    encode_field = staticmethod(encode_field)

    def __init__(
        self, app: App, channel: MasterChannel, log: logging.Logger, environ: EnvironBuilder
    ) -> None:
        self.app = app
        self.log = log
        self.loop = asyncio.get_running_loop()
        self.beat = channel.beat
        self.count_timeout_from = channel.count_timeout_from
        self._renew_timeout_at = 0.0
        environ.send_early_hints = self.send_early_hints
        self.environ = environ.build
        self.start_task = EagerTasks(self.loop).start
        if not environ.multithread:
            # The app is no part of our loop: it may want to run one of its own, as async views do.
            # Hidden once and for all, because each change costs a system call (getpid).
            self.loop.call_soon(set_running_loop, None)

    def handle(self, exchange: Exchange) -> None:
        """Call the app here."""
        environ = self.environ(exchange)
        if exchange.started_at > self._renew_timeout_at:
            # Not for each of a hundred thousand a second: it need not be that exact.
            self._renew_timeout_at = exchange.started_at + TIMEOUT_RESOLUTION
            self.count_timeout_from(exchange.started_at)
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

    def send_early_hints(self, connection: Connection, headers: Hints) -> None:
        """Send early hints for the request that is being answered. Raises ResponseError."""
        if connection.current is not None:
            connection.current.send_early_hints(encode_early_hints(headers))


class WsgiCall:
    """One call of the app."""

    _status_line = b""
    _fields: list[tuple[str, str]] = []  # noqa: RUF012 - replaced, never changed
    _result: Any = ()
    _pieces: Iterator[bytes] = iter(())
    _context: Context | None = None
    """Of the app, while its pieces are pulled."""

    def __init__(self, handler: WsgiHandler, exchange: Exchange) -> None:
        self._handler = handler
        self._exchange = exchange
        self._status = 0
        self._streaming_started = False
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
            if (
                (kind is list or kind is tuple)
                and len(result) == 1
                and status
                and not self._streaming_started
            ):
                body = result[0]
                if type(body) is bytes:
                    exchange.respond(status, self._status_line, self._fields, body)
                    if exchange.body is not None:
                        exchange.body.discard()
                    return
            if (file_range := self._sendable_file()) is not None:
                self._context = context
                self._handler.start_task(self._send_file(file_range))
                return
            self._pieces, self._context = iter(result), context
        except BaseException as error:
            self._end_with_error(error)
            return
        self._continue_response()

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """PEP 3333, "The start_response() Callable"."""
        if exc_info is not None:
            try:
                self._discard_response(exc_info)
            finally:
                exc_info = None
        elif self._status:
            raise ResponseError("start_response was called twice without exc_info")
        self._status, self._status_line = WSGI_STATUSES.get(status) or encode_wsgi_status(status)
        self._fields = headers
        return self.write

    def write(self, data: bytes) -> None:
        """The imperative way to send (PEP 3333, "The write() Callable")."""
        self._start_streaming(None)
        self._exchange.send(require_bytes(data))
        self._exchange.send_headers()

    def _discard_response(self, exc_info: Any) -> None:
        """Make room for another response, unless bytes of this one are out."""
        if self._exchange.headers_sent:
            raise exc_info[1].with_traceback(exc_info[2])
        self._exchange.reset_response()
        self._streaming_started = False

    def _start_streaming(self, length: int | None) -> None:
        if not self._streaming_started:
            self._require_start_response()
            self._exchange.start_response(self._status, self._status_line, self._fields, length)
            self._streaming_started = True

    def _require_start_response(self) -> None:
        if not self._status:
            raise ResponseError("the app returned without calling start_response")

    def _continue_response(self) -> None:
        """Send the next piece; come back when the loop has flushed it and the client wants more."""
        exchange = self._exchange
        try:
            if exchange.disconnected or exchange.response_complete or self._send_next_piece():
                self._close()
                return
        except BaseException as error:
            self._end_with_error(error)
            return
        waiter = exchange.connection.writable_waiter()
        if waiter is not None:
            waiter.add_done_callback(lambda _: self._continue_response(), context=self._context)
        else:
            self._handler.loop.call_soon(self._continue_response, context=self._context)

    def _send_next_piece(self) -> bool:
        """Whether that was the end. PEP 3333: no piece may be delayed, and the head goes with the
        first that is not empty."""
        exchange = self._exchange
        while True:
            self._handler.beat()
            piece = next(self._pieces, _END)
            if fork_hooks.in_child:
                fork_hooks.exit_child()
            if piece is _END:
                self._start_streaming(None if self._streaming_started else 0)
                exchange.finish()
                return True
            if not require_bytes(piece):
                return False
            self._start_streaming(None)
            exchange.send(piece)
            # With all of its Content-Length sent, the app has only to say that it is done.
            if exchange.remaining != 0:
                return False

    def _sendable_file(self) -> FileRange | None:
        """The file that the app returned, if it can be sent without being read."""
        result = self._result
        return (
            sendable_range(result)
            if type(result) is FileWrapper and not self._streaming_started
            else None
        )

    async def _send_file(self, file_range: FileRange) -> None:
        try:
            await self._send_file_range(file_range)
        except BaseException as error:
            self._log_failure(error)
            self._exchange.fail()
        # The task has a copy of the call's context, in which the app's close() could not reset
        # what the app set (PEP 567: a token belongs to its context).
        self._handler.loop.call_soon(self._close, context=self._context)

    async def _send_file_range(self, file_range: FileRange) -> None:
        """As much of the file as the app's Content-Length says."""
        exchange = self._exchange
        exchange.truncates_body = True
        self._start_streaming(file_range.count)
        count = file_range.count if exchange.remaining is None else exchange.remaining
        await send_file(exchange, file_range.fd, file_range.offset, count)
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
                self._log_failure(error)
            if fork_hooks.in_child:
                fork_hooks.exit_child()

    def _close_input(self) -> None:
        if self._exchange.body is not None:
            self._exchange.body.discard()

    def _end_with_error(self, error: BaseException) -> None:
        self._log_failure(error)
        self._exchange.fail()
        self._close()

    def _log_failure(self, error: BaseException) -> None:
        if fork_hooks.in_child:
            fork_hooks.exit_child(error)
        if not isinstance(error, ClientGoneError):
            trace = format_app_traceback(error).rstrip()
            what = self._exchange.request.describe()
            self._handler.log.error("the app failed on %s\n%s", what, trace)


def require_bytes(piece: bytes) -> bytes:
    """What the app sends, if it can be sent. Raises ResponseError."""
    if not isinstance(piece, bytes):
        raise ResponseError(f"the app sent {type(piece).__name__} where bytes belong")
    return piece
