"""WSGI in a pool of threads: a call may block, and the loop goes on.

The app runs in a thread, everything that touches the exchange in the loop. A thread hands over what
its app returns and goes on at once; it waits only where its client reads slower than the app
writes. So the usual request costs one way to a thread and one way back.
"""

import asyncio
import logging
import threading
from collections import deque
from contextvars import copy_context
from functools import partial
from typing import Any

from prefork.errors import ClientGoneError
from prefork.http.connection import Connection
from prefork.http.exchange import Exchange
from prefork.http.response_head import RETRY_AFTER, encode_early_hints
from prefork.plural import pluralize
from prefork.worker import fork_hooks
from prefork.worker.master_channel import MasterChannel
from prefork.worker.wsgi.environ import EnvironBuilder, Hints
from prefork.worker.wsgi.file_wrapper import FileRange
from prefork.worker.wsgi.loop_threads import LoopCallQueue, ThreadPool, check_threads
from prefork.worker.wsgi.wsgi_app import App, WsgiCall, WsgiHandler, require_bytes

MAX_AHEAD = 64 * 1024
"""Bytes that a thread may be ahead of the loop."""


class ThreadedWsgiHandler(WsgiHandler):
    """Calls the app in ``threads`` threads; at most ``queue`` requests wait for one of them."""

    can_cancel = False

    def __init__(
        self,
        app: App,
        channel: MasterChannel,
        log: logging.Logger,
        environ: EnvironBuilder,
        threads: int,
        queue: int | None,
    ) -> None:
        check_threads()
        super().__init__(app, channel, log, environ)
        self.call_in_loop = LoopCallQueue(self.loop).put
        self._pool = ThreadPool(self.loop, threads, log)
        self._pool.start()
        self._min_spare = None if queue is None else -queue
        self._refusal_logged = False

    def handle(self, exchange: Exchange) -> None:
        """Call the app in a thread, now or later."""
        if self._min_spare is not None and self._pool.spare_threads() <= self._min_spare:
            self._refuse(exchange)
            return
        exchange.is_queued = True
        exchange.handler_state = call = ThreadedWsgiCall(self, exchange, self.environ(exchange))
        self._pool.put(call)

    def _refuse(self, exchange: Exchange) -> None:
        if not self._refusal_logged:
            self._refusal_logged = True
            self.log.warning(
                "all threads are busy and %s for one: the next ones get a 503; "
                "see --threads and --threads-queue",
                pluralize(-self._pool.spare_threads(), "request waits", "requests wait"),
            )
        exchange.send_error(503, "", (RETRY_AFTER,))
        if exchange.body is not None:
            exchange.body.discard()

    async def wait_for_calls(self) -> None:
        """Wait for threads that go on after their response."""
        await self._pool.close()

    def time_out(self, exchange: Exchange) -> None:
        """No thread became free in time; or one is stuck, which only the master can end."""
        self.log.error("no answer in time: %s", exchange.request.describe())
        if self._withdraw(exchange):
            exchange.send_error(503, "", (RETRY_AFTER,))

    def client_disconnected(self, exchange: Exchange) -> None:
        """Nobody waits for the answer: no thread is spent on it."""
        self._withdraw(exchange)

    def _withdraw(self, exchange: Exchange) -> bool:
        call = exchange.handler_state
        if not isinstance(call, ThreadedWsgiCall) or not self._pool.withdraw(call):
            return False
        if exchange.body is not None:
            exchange.body.discard()
        return True

    def send_early_hints(self, connection: Connection, headers: Hints) -> None:
        """In a thread. Raises ResponseError."""
        self.call_in_loop(partial(_send_hints, connection, encode_early_hints(headers)))


def _send_hints(connection: Connection, lines: bytes) -> None:
    if connection.current is not None:
        connection.current.send_early_hints(lines)


class ThreadedWsgiCall(WsgiCall):
    """One call of the app. ``run``, and what the app calls, are in the thread; the rest is not."""

    _handler: ThreadedWsgiHandler
    _output_started = False
    """Something of the response was handed over: it cannot be replaced any more."""
    _body = b""
    _bytes_queued = 0
    """Bytes handed over; only the thread changes it."""
    _bytes_sent = 0
    """Bytes of these that were sent; only the loop changes it."""

    def __init__(
        self, handler: ThreadedWsgiHandler, exchange: Exchange, environ: dict[str, Any]
    ) -> None:
        super().__init__(handler, exchange)
        self._environ = environ
        self._queued_pieces: deque[bytes] = deque()

    def run(self) -> None:  # type: ignore[override]
        """Call the app and hand over what it returns. Never raises."""
        copy_context().run(self._run)

    def _run(self) -> None:
        exchange, call_in_loop = self._exchange, self._handler.call_in_loop
        # From now on it is the app's time that runs.
        exchange.is_queued = False
        exchange.app_called_at = exchange.connection.server.now
        try:
            if exchange.disconnected:
                raise ClientGoneError("the client left before its request was begun")
            self._result = result = self._handler.app(self._environ, self.start_response)
            if fork_hooks.in_child:
                fork_hooks.exit_child()
            kind = type(result)
            if (kind is list or kind is tuple) and len(result) == 1 and not self._output_started:
                self._body = require_bytes(result[0])
                call_in_loop(self._send_whole_response)
                return
            self._send_result()
        except BaseException as error:
            if fork_hooks.in_child:
                fork_hooks.exit_child(error)
            call_in_loop(partial(self._end_with_error, error))
        self._close_result()
        call_in_loop(self._close_input)

    def _send_result(self) -> None:
        file_range = self._sendable_file()
        if file_range is not None:
            sending = asyncio.run_coroutine_threadsafe(
                self._send_file_range(file_range), self._handler.loop
            )
            sending.result()
            return
        for piece in self._result:
            if fork_hooks.in_child:
                fork_hooks.exit_child()
            self._queue_piece(require_bytes(piece))
        if fork_hooks.in_child:
            fork_hooks.exit_child()
        self._handler.call_in_loop(self._finish_response)

    def write(self, data: bytes) -> None:
        """The imperative way to send (PEP 3333, "The write() Callable")."""
        self._queue_piece(require_bytes(data))

    def _discard_response(self, exc_info: Any) -> None:
        if self._output_started:
            raise exc_info[1].with_traceback(exc_info[2])

    def _queue_piece(self, piece: bytes) -> None:
        exchange = self._exchange
        if exchange.disconnected or exchange.response_complete:
            raise ClientGoneError("the client left before the response ended")
        if not piece:
            return
        self._output_started = True
        self._queued_pieces.append(piece)
        self._bytes_queued += len(piece)
        self._handler.call_in_loop(self._send_queued)
        if self._bytes_queued - self._bytes_sent > MAX_AHEAD or not exchange.connection.is_writable:
            resume = threading.Lock()
            resume.acquire()
            self._handler.call_in_loop(partial(self._release_when_writable, resume))
            resume.acquire()

    # In the loop.

    def _send_whole_response(self) -> None:
        """The whole response is known."""
        exchange = self._exchange
        try:
            self._require_start_response()
            exchange.respond(self._status, self._status_line, self._fields, self._body)
        except BaseException as error:
            self._end_with_error(error)
        self._close_input()

    def _send_queued(self) -> None:
        """Send what the thread has handed over so far."""
        exchange, queued = self._exchange, self._queued_pieces
        pieces = []
        while queued:
            pieces.append(queued.popleft())
        if pieces and not exchange.response_complete and not exchange.disconnected:
            data = b"".join(pieces)
            self._bytes_sent += len(data)
            try:
                self._start_streaming(None)
                exchange.send(data)
                exchange.send_headers()
            except BaseException as error:
                self._end_with_error(error)

    def _finish_response(self) -> None:
        exchange = self._exchange
        if not exchange.response_complete and not exchange.disconnected:
            try:
                self._start_streaming(None if self._streaming_started else 0)
                exchange.finish()
            except BaseException as error:
                self._end_with_error(error)

    def _release_when_writable(self, resume: threading.Lock) -> None:
        """Let the thread go on when its client has caught up."""
        waiter = self._exchange.connection.writable_waiter()
        if waiter is None or self._exchange.response_complete:
            resume.release()
        else:
            waiter.add_done_callback(lambda _: resume.release())

    def _close_input(self) -> None:
        super()._close_input()
        self._exchange.handler_state = None  # which is us: a ring would wait for the collector

    def _end_with_error(self, error: BaseException) -> None:
        self._log_failure(error)
        self._exchange.fail()

    def _sendable_file(self) -> FileRange | None:
        return None if self._output_started else super()._sendable_file()
