"""WSGI (PEP 3333) over an Exchange, in the event loop's own thread.

One request runs at a time, but slow clients never hold it: the body is spooled before the call, and
the response is pulled piece by piece, one in each turn of the loop, only while the client keeps up.
wsgi_threads.py does the same in a pool of threads.

Design
------
- **The body is spooled before the call** (``--body-memory`` for all bodies of a worker, beyond that
  on disk), also with threads: the app never waits for a slow client. ``100 Continue`` is therefore
  sent when the head was accepted.
- **The running loop is hidden once, for the whole worker.** Async views may then run loops of their
  own. Hiding it call by call costs two system calls a request.
- **write() keeps its data in memory for a slow client,** because the call cannot wait in the loop's
  thread. An app that sends much yields it, returns a file, or uses threads.
- **Each call has a context of its own** (contextvars), the same one for all pieces of its response,
  as Flask's ``stream_with_context`` needs it.
"""

import asyncio
import logging
from asyncio import _set_running_loop as set_running_loop
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from typing import Any

from prefork.errors import ClientGoneError
from prefork.http.exchange import Exchange
from prefork.http.response_files import send_file
from prefork.http.response_head import (
    WSGI_STATUSES,
    ResponseError,
    encode_early_hints,
    encode_field,
    encode_wsgi_status,
)
from prefork.worker import fork_hooks
from prefork.worker.asgi.eager_tasks import EagerTasks
from prefork.worker.importer import format_app_traceback
from prefork.worker.master_channel import MasterChannel
from prefork.worker.wsgi.environ import EnvironBuilder, Hints
from prefork.worker.wsgi.file_wrapper import FileRange, FileWrapper, sendable_range

App = Callable[..., Any]

TIMEOUT_RESOLUTION = 0.05
"""Seconds for which calls share one deadline, instead of writing one each."""

_END: Any = object()
"""The value that ``next`` returns at the end of the app's iterable."""


class WsgiHandler:
    """Calls the app for each request of one worker. The protocol is RequestHandler (http).

    The app is called when the whole body has arrived (not ``streams_body``). ``upgrade`` is None:
    WSGI has no WebSockets, so a request for one is an ordinary request.
    """

    streams_body = False
    can_cancel = True
    upgrade = None
    has_byte_fields = False
    encode_field = staticmethod(encode_field)

    def __init__(
        self, app: App, channel: MasterChannel, log: logging.Logger, environ: EnvironBuilder
    ) -> None:
        """Must be called in the running loop. ``channel``: its deadline is renewed by each call."""
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
            # Else asyncio would refuse to run the loop of an async view inside of ours. Hidden
            # once for all calls, because each change costs a system call (getpid).
            self.loop.call_soon(set_running_loop, None)

    def handle(self, exchange: Exchange) -> None:
        """Call the app in this thread. Returns when the call is over, or between two pieces."""
        environ = self.environ(exchange)
        if exchange.started_at > self._renew_timeout_at:
            # Not for each request: at 100,000 a second the deadline need not be that exact.
            self._renew_timeout_at = self.renew_timeout(exchange.started_at)
        # Callbacks of the loop pull later pieces in the same context.
        context = copy_context()
        context.run(WsgiCall(self, exchange).run, environ, context)

    def renew_timeout(self, started_at: float) -> float:
        """Count the timeout of calls from here on; return when to do so again."""
        self.count_timeout_from(started_at)
        return started_at + TIMEOUT_RESOLUTION

    def adopt(
        self, exchange: Exchange, status: int, line: bytes, fields: list[tuple[str, str]]
    ) -> "WsgiCall":
        """Return a call that goes on with a request for which the compiled part has called the app
        (_speed/wsgi_calls.pyx); ``status``: 0 if the app has not called start_response."""
        call = WsgiCall(self, exchange)
        if status:
            call.set_status(status, line, fields)
        exchange.disconnected = fork_hooks.in_child
        return call

    async def wait_for_calls(self) -> None:
        """Return at once: no call goes on after its response."""

    def time_out(self, exchange: Exchange) -> None:
        """Log and fail a request whose iterable has yielded nothing within ``--timeout``."""
        self.log.error("no answer in time: %s (--timeout)", exchange.request.describe())
        exchange.fail()

    def client_disconnected(self, exchange: Exchange) -> None:
        """Do nothing: the next piece finds out."""

    def send_early_hints(self, exchange: Exchange, headers: Hints) -> None:
        """Send a 103 for a request. Raises ResponseError."""
        exchange.send_early_hints(encode_early_hints(headers))


class WsgiCall:
    """One call of the app. The stack report finds it by its functions ``run`` and
    ``_continue_response`` (worker/monitor/stack_report.py): rename them there as well."""

    _status_line = b""
    _fields: list[tuple[str, str]] = []  # noqa: RUF012 - replaced, never changed
    _result: Any = ()
    _pieces: Iterator[bytes] = iter(())
    _context: Context | None = None
    """The app's context, in which later pieces are pulled."""

    def __init__(self, handler: WsgiHandler, exchange: Exchange) -> None:
        self._handler = handler
        self._exchange = exchange
        self._status = 0
        self._streaming_started = False
        """The head was made: what follows belongs to this response."""

    @property
    def exchange(self) -> Exchange:
        """The request that the call answers."""
        return self._exchange

    def run(self, environ: dict[str, Any], context: Context) -> None:
        """Call the app and send what it returns, or its first piece. Never raises."""
        try:
            result = self._handler.app(environ, self.start_response)
            if fork_hooks.in_child:
                fork_hooks.exit_child()
        except BaseException as error:
            self.end_with_error(error)
            return
        self.take_result(result, context)

    def take_result(self, result: Any, context: Context) -> None:
        """Send what the app returned, or its first piece. Never raises."""
        exchange = self._exchange
        self._result = result
        kind, status = type(result), self._status
        try:
            # The usual case first: a body that is one bytes object goes out in one write with its
            # head.
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
            self.end_with_error(error)
            return
        self._continue_response()

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """The callable that the app gets (PEP 3333, "The start_response() Callable").

        Raises ResponseError for a second call without ``exc_info``, and for a status that HTTP does
        not allow; re-raises ``exc_info`` when the response has begun.
        """
        if exc_info is not None:
            try:
                self._discard_response(exc_info)
            finally:
                exc_info = None
        elif self._status:
            raise ResponseError("start_response was called twice without exc_info")
        self.set_status(*(WSGI_STATUSES.get(status) or encode_wsgi_status(status)), headers)
        return self.write

    def set_status(self, status: int, line: bytes, fields: list[tuple[str, str]]) -> None:
        """Set what the response begins with; ``line``: the status line with its CRLF."""
        self._status, self._status_line, self._fields = status, line, fields

    def write(self, data: bytes) -> None:
        """Send a piece the imperative way (PEP 3333, "The write() Callable"). Raises
        ResponseError."""
        if not self._exchange.response_complete:  # else there is no head to make, and send() raises
            self._start_streaming(None)
        self._exchange.send(require_bytes(data))
        self._exchange.send_headers()

    def _discard_response(self, exc_info: Any) -> None:
        """Drop a response that was not sent yet; else raise the error that the app was about to
        report."""
        if self._exchange.headers_sent:
            raise exc_info[1].with_traceback(exc_info[2])
        self._exchange.reset_response()
        self._streaming_started = False

    def _start_streaming(self, length: int | None) -> None:
        """Make the head, unless it is made; ``length``: of the body, None when it is not known."""
        if not self._streaming_started:
            self._require_start_response()
            self._exchange.start_response(self._status, self._status_line, self._fields, length)
            self._streaming_started = True

    def _require_start_response(self) -> None:
        """Raise ResponseError when the app has not called ``start_response``."""
        if not self._status:
            raise ResponseError("the app returned without calling start_response")

    def _continue_response(self) -> None:
        """Send the next piece, and come back when the loop has had a turn and the client
        keeps up."""
        exchange = self._exchange
        try:
            if exchange.disconnected or exchange.response_complete or self._send_next_piece():
                self._close()
                return
        except BaseException as error:
            self.end_with_error(error)
            return
        waiter = exchange.sink.flow.waiter()
        if waiter is not None:
            waiter.add_done_callback(self._on_writable, context=self._context)
        else:
            self._handler.loop.call_soon(self._continue_response, context=self._context)

    def _on_writable(self, _waiter: "asyncio.Future[None]") -> None:
        """Go on with the response, because the client has caught up or is gone."""
        self._continue_response()

    def _send_next_piece(self) -> bool:
        """Send pieces up to the first that is not empty; True: that was the end.

        PEP 3333 forbids to delay a piece, and wants the head sent with the first that is not empty.
        """
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
            # When all of the Content-Length is sent, ask for the end of the iterable at once,
            # instead of in the next turn of the loop.
            if exchange.remaining != 0:
                return False

    def _sendable_file(self) -> FileRange | None:
        """Return the file that the app returned if it can be sent without being read, else None."""
        result = self._result
        return (
            sendable_range(result)
            if type(result) is FileWrapper and not self._streaming_started
            else None
        )

    async def _send_file(self, file_range: FileRange) -> None:
        """Send the file, then close the call, in a task of its own."""
        try:
            await self._send_file_range(file_range)
        except BaseException as error:
            self._log_failure(error)
            self._exchange.fail()
        # The task has a copy of the call's context, in which the app's close() could not reset
        # what the app set (PEP 567: a token belongs to its context).
        self._handler.loop.call_soon(self._close, context=self._context)

    async def _send_file_range(self, file_range: FileRange) -> None:
        """Send as much of the file as the app's Content-Length says."""
        exchange = self._exchange
        exchange.truncates_body = True
        self._start_streaming(file_range.count)
        count = file_range.count if exchange.remaining is None else exchange.remaining
        await send_file(exchange, file_range.fd, file_range.offset, count)
        exchange.finish()

    def _close(self) -> None:
        """Call the app's ``close()``, then discard the request's body."""
        self._close_result()
        self._close_input()

    def _close_result(self) -> None:
        """Call ``close()`` of what the app returned, if it has one; an error is logged."""
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
        """Discard the request's body."""
        if self._exchange.body is not None:
            self._exchange.body.discard()

    def end_with_error(self, error: BaseException) -> None:
        """Log the app's error and answer 500, or cut off the response that has begun."""
        self._log_failure(error)
        self._exchange.fail()
        self._close()

    def _log_failure(self, error: BaseException) -> None:
        """Log that the app failed on the request. A client that left is no failure."""
        if fork_hooks.in_child:
            fork_hooks.exit_child(error)
        if not isinstance(error, ClientGoneError):
            trace = format_app_traceback(error).rstrip()
            what = self._exchange.request.describe()
            self._handler.log.error("the app failed on %s\n%s", what, trace)


def require_bytes(piece: bytes) -> bytes:
    """Return ``piece`` if it is bytes. Raises ResponseError."""
    if not isinstance(piece, bytes):
        raise ResponseError(f"the app sent {type(piece).__name__} where bytes belong")
    return piece
