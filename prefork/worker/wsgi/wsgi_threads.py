"""WSGI in a pool of threads: a call may block, and the loop goes on.

The app runs in a thread; everything that touches the exchange runs in the loop. A thread queues
what its app returns and goes on at once. It waits only where its client reads slower than the app
writes. So a typical request costs one hop to a thread and one back.

Design
------
- **Output of a thread is sent later, in the loop.** So a response that breaks HTTP is a 500 and a
  line in the log, but no exception in the app's own ``write()``; in the loop's thread it is one.
- **A request may wait for a thread as long as --timeout,** and is then answered with a 503. The
  time of the call counts anew from its start: a worker must not die of a queue.
"""

import asyncio
import logging
import threading
from collections import deque
from contextvars import copy_context
from typing import Any

from prefork.errors import ClientGoneError
from prefork.http.exchange import Exchange
from prefork.http.response_head import RETRY_AFTER, ResponseError, encode_early_hints
from prefork.plural import pluralize
from prefork.worker import fork_hooks
from prefork.worker.master_channel import MasterChannel
from prefork.worker.wsgi.environ import EnvironBuilder, Hints
from prefork.worker.wsgi.file_wrapper import FileRange
from prefork.worker.wsgi.loop_threads import LoopCallQueue, ThreadPool, check_threads
from prefork.worker.wsgi.wsgi_app import App, WsgiCall, WsgiHandler, require_bytes

MAX_AHEAD = 64 * 1024
"""Bytes that a thread may have queued before it waits for the loop to send them."""


class ThreadedWsgiHandler(WsgiHandler):
    """Calls the app in a pool of threads. The protocol is RequestHandler (http).

    A call in a thread cannot be cancelled (``can_cancel``): only the master ends one that hangs.
    """

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
        """Start the pool with ``threads`` threads at most.

        ``queue``: how many requests may wait for a thread; None: no limit. Raises UsageError when
        the app has patched ``threading``, MachineError when not even one thread can be started.
        """
        check_threads()
        super().__init__(app, channel, log, environ)
        self.call_in_loop = LoopCallQueue(self.loop).put
        self._pool = ThreadPool(self.loop, threads, log)
        self._pool.start()
        self._min_spare = None if queue is None else -queue
        self._refusal_logged = False

    def handle(self, exchange: Exchange) -> None:
        """Call the app in a thread, now or when one is free; answer 503 when the queue is full."""
        if self._min_spare is not None and self._pool.spare_threads() <= self._min_spare:
            self._refuse(exchange)
            return
        exchange.is_queued = True
        exchange.call = call = ThreadedWsgiCall(self, exchange, self.environ(exchange))
        self._pool.put(call)

    def _refuse(self, exchange: Exchange) -> None:
        """Answer 503 because the queue is full. The log tells it once."""
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
        """Wait until all calls are over, also those that go on after their response."""
        await self._pool.close()

    def time_out(self, exchange: Exchange) -> None:
        """Answer 503 to a request that got no thread within ``--timeout``.

        A request whose thread hangs is only logged: the master ends its worker.
        """
        self.log.error("no answer in time: %s (--timeout)", exchange.request.describe())
        if exchange.call is not None:
            exchange.call.time_out()

    def client_disconnected(self, exchange: Exchange) -> None:
        """Take the request of a client that left out of the queue."""
        if exchange.call is not None:
            exchange.call.disconnect()

    def withdraw(self, call: "ThreadedWsgiCall") -> bool:
        """Take a call out of the queue; False: a thread has it already."""
        return self._pool.withdraw(call)

    def send_early_hints(self, exchange: Exchange, headers: Hints) -> None:
        """Send a 103; called in a thread. Raises ResponseError."""
        lines = encode_early_hints(headers)

        def send() -> None:
            exchange.send_early_hints(lines)

        self.call_in_loop(send)


class ThreadedWsgiCall(WsgiCall):
    """One call of the app in a thread of the pool.

    ``run`` and everything that the app calls run in the thread; the second half of the class runs
    in the loop. The stack report finds the call by its functions ``run`` and ``_run``.
    """

    _handler: ThreadedWsgiHandler
    task = None
    """A call in a thread has no task (AppCall)."""
    _output_started = False
    """A part of the response was queued: it cannot be replaced any more."""
    _output_ended = False
    """All of the response was queued: nothing can follow."""
    _body = b""
    _error: BaseException | None = None
    """The exception that the app raised in the thread, until the loop has logged it."""
    _resume: threading.Lock
    """Held while the thread waits for the loop to send what it has queued."""
    _bytes_queued = 0
    """Bytes queued so far; only the thread changes it."""
    _bytes_sent = 0
    """Bytes of these that were sent; only the loop changes it."""

    def __init__(
        self, handler: ThreadedWsgiHandler, exchange: Exchange, environ: dict[str, Any]
    ) -> None:
        super().__init__(handler, exchange)
        self._environ = environ
        self._queued_pieces: deque[bytes] = deque()

    def run(self) -> None:  # type: ignore[override]
        """Call the app in a context of its own and queue what it returns. Never raises."""
        copy_context().run(self._run)

    def _run(self) -> None:
        """Do the work of ``run``, inside of the context."""
        exchange, call_in_loop = self._exchange, self._handler.call_in_loop
        # The wait for a thread is over: the app's time counts from here.
        exchange.is_queued = False
        exchange.app_called_at = exchange.connection.server.clock.now
        try:
            if exchange.disconnected:
                raise ClientGoneError("the client left before its request was begun")
            self._result = result = self._handler.app(self._environ, self.start_response)
            if fork_hooks.in_child:
                fork_hooks.exit_child()
            kind = type(result)
            if (kind is list or kind is tuple) and len(result) == 1 and not self._output_started:
                self._body = require_bytes(result[0])
                self._output_ended = True
                call_in_loop(self._send_whole_response)
                return
            self._send_result()
        except BaseException as error:
            if fork_hooks.in_child:
                fork_hooks.exit_child(error)
            self._error, self._output_ended = error, True
            call_in_loop(self._end_failed)
        self._close_result()
        call_in_loop(self._close_input)

    def _send_result(self) -> None:
        """Queue the pieces of the response, or have the file sent and wait for its end."""
        file_range = self._sendable_file()
        if file_range is not None:
            sending = asyncio.run_coroutine_threadsafe(
                self._send_file_range(file_range), self._handler.loop
            )
            sending.result()
            self._output_ended = True
            return
        for piece in self._result:
            if fork_hooks.in_child:
                fork_hooks.exit_child()
            self._queue_piece(require_bytes(piece))
        if fork_hooks.in_child:
            fork_hooks.exit_child()
        self._output_ended = True
        self._handler.call_in_loop(self._finish_response)

    def write(self, data: bytes) -> None:
        """Queue a piece the imperative way (PEP 3333, "The write() Callable"). Raises
        ResponseError."""
        self._queue_piece(require_bytes(data))

    def _discard_response(self, exc_info: Any) -> None:
        """Raise the app's own error when a part of the response was queued."""
        if self._output_started:
            raise exc_info[1].with_traceback(exc_info[2])

    def _queue_piece(self, piece: bytes) -> None:
        """Queue a piece, and wait if the thread is too far ahead. Raises ClientGoneError, and
        ResponseError after the end of the response."""
        exchange = self._exchange
        if self._output_ended:
            raise ResponseError("the response has ended")
        if exchange.disconnected or exchange.response_complete:
            raise ClientGoneError("the client left before the response ended")
        if not piece:
            return
        self._output_started = True
        self._queued_pieces.append(piece)
        self._bytes_queued += len(piece)
        self._handler.call_in_loop(self._send_queued)
        if self._bytes_queued - self._bytes_sent > MAX_AHEAD or not exchange.sink.flow.is_writable:
            self._resume = resume = threading.Lock()
            resume.acquire()
            self._handler.call_in_loop(self._resume_when_writable)
            resume.acquire()

    # The rest runs in the loop.

    def time_out(self) -> None:
        """Answer 503 if the call still waits for a thread."""
        if self._withdraw():
            self._exchange.send_error(503, "", (RETRY_AFTER,))

    def disconnect(self) -> None:
        """Give up the place in the queue: the client has left."""
        self._withdraw()

    def _withdraw(self) -> bool:
        """Leave the queue; False: a thread has the call already."""
        if not self._handler.withdraw(self):
            return False
        super()._close_input()
        return True

    def _send_whole_response(self) -> None:
        """Send a response whose whole body is known, in one write."""
        exchange = self._exchange
        try:
            self._require_start_response()
            exchange.respond(self._status, self._status_line, self._fields, self._body)
        except BaseException as error:
            self.end_with_error(error)
        self._close_input()

    def _send_queued(self) -> None:
        """Send what the thread has queued so far."""
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
                self.end_with_error(error)

    def _finish_response(self) -> None:
        """End the response, unless it has ended."""
        exchange = self._exchange
        if not exchange.response_complete and not exchange.disconnected:
            try:
                self._start_streaming(None if self._streaming_started else 0)
                exchange.finish()
            except BaseException as error:
                self.end_with_error(error)

    def _resume_when_writable(self) -> None:
        """Let the thread go on when its client has caught up."""
        waiter = self._exchange.sink.flow.waiter()
        if waiter is None or self._exchange.response_complete:
            self._resume.release()
        else:
            waiter.add_done_callback(self._on_client_caught_up)

    def _on_client_caught_up(self, _waiter: "asyncio.Future[None]") -> None:
        """Let the thread go on, because the client has caught up or is gone."""
        self._resume.release()

    def _close_input(self) -> None:
        """Discard the request's body, and let go of the call."""
        super()._close_input()
        # A reference cycle (call - exchange) would live until the garbage collector runs.
        self._exchange.call = None

    def _end_failed(self) -> None:
        """End the response of a call that failed in its thread."""
        error, self._error = self._error, None
        assert error is not None, "set before this was queued"
        self.end_with_error(error)

    def end_with_error(self, error: BaseException) -> None:
        """Log the app's error and answer 500, or cut off the response that has begun; in
        the loop."""
        self._log_failure(error)
        self._exchange.fail()

    def _sendable_file(self) -> FileRange | None:
        """As in WsgiCall, but None when a part of the response was queued."""
        return None if self._output_started else super()._sendable_file()
