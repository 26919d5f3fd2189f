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
from prefork.worker.wsgi.wsgi_app import App, WsgiCall, WsgiHandler, checked

AHEAD = 64 * 1024
"""Bytes that a thread may be ahead of the loop."""


class ThreadedWsgiHandler(WsgiHandler):
    """Calls the app in ``threads`` threads; at most ``queue`` requests wait for one of them."""

    can_cancel = False

    def __init__(
        self,
        app: App,
        line: MasterChannel,
        log: logging.Logger,
        environ: EnvironBuilder,
        threads: int,
        queue: int | None,
    ) -> None:
        check_threads()
        super().__init__(app, line, log, environ)
        self.hand_over = LoopCallQueue(self.loop).put
        self._pool = ThreadPool(self.loop, threads, log)
        self._pool.start()
        self._least_spare = None if queue is None else -queue
        self._complained = False

    def handle(self, exchange: Exchange) -> None:
        """Call the app in a thread, now or later."""
        if self._least_spare is not None and self._pool.spare() <= self._least_spare:
            self._refuse(exchange)
            return
        exchange.is_queued = True
        exchange.handler_state = call = ThreadedWsgiCall(self, exchange, self.environ(exchange))
        self._pool.put(call)

    def _refuse(self, exchange: Exchange) -> None:
        if not self._complained:
            self._complained = True
            self.log.warning(
                "all threads are busy and %s for one: the next ones get a 503; "
                "see --threads and --threads-queue",
                pluralize(-self._pool.spare(), "request waits", "requests wait"),
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
        if not isinstance(call, ThreadedWsgiCall) or not self._pool.forget(call):
            return False
        if exchange.body is not None:
            exchange.body.discard()
        return True

    def hint(self, connection: Connection, headers: Hints) -> None:
        """In a thread. Raises ResponseError."""
        self.hand_over(partial(_inform, connection, encode_early_hints(headers)))


def _inform(connection: Connection, lines: bytes) -> None:
    if connection.current is not None:
        connection.current.send_early_hints(lines)


class ThreadedWsgiCall(WsgiCall):
    """One call of the app. ``run``, and what the app calls, are in the thread; the rest is not."""

    _handler: ThreadedWsgiHandler
    _handed = False
    """Something of the response was handed over: it cannot be replaced any more."""
    _body = b""
    _ahead = 0
    """Bytes handed over; only the thread changes it."""
    _sent = 0
    """Bytes of these that were sent; only the loop changes it."""

    def __init__(
        self, handler: ThreadedWsgiHandler, exchange: Exchange, environ: dict[str, Any]
    ) -> None:
        super().__init__(handler, exchange)
        self._environ = environ
        self._due: deque[bytes] = deque()

    def run(self) -> None:  # type: ignore[override]
        """Call the app and hand over what it returns. Never raises."""
        copy_context().run(self._run)

    def _run(self) -> None:
        exchange, hand_over = self._exchange, self._handler.hand_over
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
            if (kind is list or kind is tuple) and len(result) == 1 and not self._handed:
                self._body = checked(result[0])
                hand_over(self._answer)
                return
            self._send_result()
        except BaseException as error:
            if fork_hooks.in_child:
                fork_hooks.exit_child(error)
            hand_over(partial(self._fail, error))
        self._close_result()
        hand_over(self._close_input)

    def _send_result(self) -> None:
        rest = self._file()
        if rest is not None:
            sending = asyncio.run_coroutine_threadsafe(self._send_rest(rest), self._handler.loop)
            sending.result()
            return
        for piece in self._result:
            if fork_hooks.in_child:
                fork_hooks.exit_child()
            self._push(checked(piece))
        if fork_hooks.in_child:
            fork_hooks.exit_child()
        self._handler.hand_over(self._finish)

    def write(self, data: bytes) -> None:
        """The imperative way to send (PEP 3333, "The write() Callable")."""
        self._push(checked(data))

    def _replace(self, exc_info: Any) -> None:
        if self._handed:
            raise exc_info[1].with_traceback(exc_info[2])

    def _push(self, piece: bytes) -> None:
        exchange = self._exchange
        if exchange.disconnected or exchange.response_complete:
            raise ClientGoneError("the client left before the response ended")
        if not piece:
            return
        self._handed = True
        self._due.append(piece)
        self._ahead += len(piece)
        self._handler.hand_over(self._flush)
        if self._ahead - self._sent > AHEAD or not exchange.connection.is_writable:
            gate = threading.Lock()
            gate.acquire()
            self._handler.hand_over(partial(self._open, gate))
            gate.acquire()

    # In the loop.

    def _answer(self) -> None:
        """The whole response is known."""
        exchange = self._exchange
        try:
            self._must_have_started()
            exchange.respond(self._status, self._line, self._fields, self._body)
        except BaseException as error:
            self._fail(error)
        self._close_input()

    def _flush(self) -> None:
        """Send what the thread has handed over so far."""
        exchange, due = self._exchange, self._due
        pieces = []
        while due:
            pieces.append(due.popleft())
        if pieces and not exchange.response_complete and not exchange.disconnected:
            data = b"".join(pieces)
            self._sent += len(data)
            try:
                self._begin(None)
                exchange.send(data)
                exchange.send_headers()
            except BaseException as error:
                self._fail(error)

    def _finish(self) -> None:
        exchange = self._exchange
        if not exchange.response_complete and not exchange.disconnected:
            try:
                self._begin(None if self._begun else 0)
                exchange.finish()
            except BaseException as error:
                self._fail(error)

    def _open(self, gate: threading.Lock) -> None:
        """Let the thread go on when its client has caught up."""
        blocked = self._exchange.connection.writable_waiter()
        if blocked is None or self._exchange.response_complete:
            gate.release()
        else:
            blocked.add_done_callback(lambda _: gate.release())

    def _close_input(self) -> None:
        super()._close_input()
        self._exchange.handler_state = None  # which is us: a ring would wait for the collector

    def _fail(self, error: BaseException) -> None:
        self._log(error)
        self._exchange.fail()

    def _file(self) -> FileRange | None:
        return None if self._handed else super()._file()
