"""ASGI 3: the handler that starts a task for each request and for each WebSocket.

The task starts at once (eager_tasks.py), so an app that never waits costs no turn of the loop.

Design
------
- **A late app is cancelled, a blocking one is killed.** An app that awaits for longer than
  ``--timeout`` before it answers is cancelled and its client gets a 500; the worker and its other
  requests live on. A call that blocks the loop for so long ends the worker, because nothing else
  can end that call.
- **WebSockets are optional at run time.** A master may live for months while its Python environment
  is upgraded or moved, so all that the settings in force may need is imported before the fork
  (``import_serving_modules`` in boot.py). If the library ``websockets`` is missing, HTTP is served
  all the same and only requests for a WebSocket get a 500; the log says what is missing and what to
  do about it.
- **An app that goes on after its WebSocket is cancelled after --ws-close-timeout while the worker
  drains.** Many such apps wait for a queue or a clock and never look at what they receive; each
  would hold the worker until it is killed.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from prefork.errors import INCOMPLETE_ENVIRONMENT
from prefork.http.exchange import Exchange
from prefork.http.response_head import encode_asgi_field
from prefork.worker.asgi.asgi_call import AsgiCall, CallContext
from prefork.worker.asgi.asgi_http import HttpCall
from prefork.worker.asgi.eager_tasks import EagerTasks
from prefork.worker.asgi.scope import ScopeBuilder
from prefork.worker.monitor.stack_report import (
    call_duration,
    describe,
    format_stacks,
    inspect_waiting_request,
)


class AsgiHandler:
    """Starts a task for each request of one worker. The protocol is RequestHandler (http).

    The app is called as soon as the request head has arrived (``streams_body``), and a call that
    takes too long can be cancelled (``can_cancel``).
    """

    streams_body = True
    can_cancel = True
    has_byte_fields = True
    encode_field = staticmethod(encode_asgi_field)
    timeout_flag = "--timeout"
    """The option that cancels a late call, for the log."""

    def __init__(
        self,
        app: Callable[..., Any],
        log: logging.Logger,
        state: dict[str, Any] | None,
        root_path: str = "",
        id_header: str = "",
    ) -> None:
        """Must be called in the running loop.

        ``state``: what the app's lifespan put into its state, or None. ``root_path``: the path
        below which the app is mounted. ``id_header``: the header that carries the request id;
        empty: none does.
        """
        self.app = app
        self.log = log
        self.scopes = ScopeBuilder(state, root_path, id_header)
        self.scope: Callable[[Exchange], dict[str, Any]] = self.scopes.build
        self._negotiate = _load_negotiate(log)
        self.upgrade: Callable[[Exchange], None] | None = self._upgrade
        self.start_task = EagerTasks(asyncio.get_running_loop()).start
        self.running: set[AsgiCall] = set()
        """All open calls. The set keeps their tasks alive, which the loop references only weakly.
        """

    def handle(self, exchange: Exchange) -> None:
        """Call the app for an HTTP request. Returns at the app's first wait, or when the call is
        over."""
        call = HttpCall(self, exchange)
        task = self.start_task(call.run())
        if not task.done():
            self.keep(call, task)

    def keep(self, call: HttpCall, task: "asyncio.Task[None]") -> None:
        """Keep a call that waits for something."""
        call.exchange.call = call
        call.task = task
        self.running.add(call)

    def adopt(self, exchange: Exchange, status: int, fields: Any, body_read: bool) -> HttpCall:
        """Return a call that goes on with a request for which the compiled part has called the app
        (_speed/asgi_calls.pyx); ``status``: 0 if the app has not begun its response."""
        call = HttpCall(self, exchange)
        call.set_progress(status, fields, body_read)
        return call

    def ignore_upgrades(self) -> None:
        """Handle requests for a WebSocket as ordinary ones (``--websocket off``)."""
        self.upgrade = None

    def _upgrade(self, exchange: Exchange) -> None:
        """Call the app for a WebSocket, if the handshake is valid; else the client has been
        answered."""
        call = self._negotiate(self, HttpCall(self, exchange))
        if call is not None:
            exchange.call = call
            call.task = self.start_task(call.run())

    async def wait_for_calls(self) -> None:
        """Wait until all calls are over, also those that go on after their response (background
        tasks).

        Calls of WebSockets that are still running after ``--ws-close-timeout`` are cancelled.
        """
        bounded = {
            c.task: c.drain_timeout for c in self.running if c.task and c.drain_timeout is not None
        }
        if bounded:
            _, late = await asyncio.wait(bounded, timeout=max(bounded.values()))
            for task in late:
                task.cancel()
        while tasks := {call.task for call in self.running if call.task is not None}:
            await asyncio.wait(tasks)

    def time_out(self, exchange: Exchange) -> None:
        """Log where a call waits that has exceeded ``--timeout``, and cancel it."""
        summary = f"{describe(exchange)} for {call_duration(exchange):.1f}s"
        try:
            where = format_stacks(inspect_waiting_request(exchange).stacks)
        except Exception as error:
            # The stacks hold objects of the app, whose methods may raise; the tick must go on.
            where = f"  the stacks cannot be shown: {error!r}"
        self.log.error(
            "no answer in time: %s, cancelled by %s where it waits\n%s",
            summary,
            self.timeout_flag,
            where,
        )
        if exchange.call is not None:
            exchange.call.time_out()

    def client_disconnected(self, exchange: Exchange) -> None:
        """Wake an app that waits for ``http.disconnect``."""
        if exchange.call is not None:
            exchange.call.disconnect()


def _load_negotiate(log: logging.Logger) -> Callable[[CallContext, HttpCall], Any]:
    """Return the function that validates WebSocket handshakes.

    Without the library ``websockets`` it is one that answers 500, and the log says why.
    """
    try:
        from prefork.worker.asgi.asgi_websocket import negotiate  # noqa: PLC0415
    except ImportError as error:
        log.error("WebSockets get a 500: %s; %s", error, INCOMPLETE_ENVIRONMENT)
        return _refuse_websocket
    return negotiate


def _refuse_websocket(handler: CallContext, http: HttpCall) -> None:
    """Answer a request for a WebSocket with 500, because ``websockets`` could not be imported."""
    handler.log.error(
        "no WebSocket for %s: %s", http.exchange.request.describe(), INCOMPLETE_ENVIRONMENT
    )
    http.exchange.send_error(500)
