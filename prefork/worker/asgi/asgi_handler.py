"""ASGI 3: the handler that starts a task for each request and for each WebSocket.

The task starts at once, so an app that never waits costs no turn of the loop.
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
    """Starts a task for each request of one worker."""

    streams_body = True
    can_cancel = True
    encode_field = staticmethod(encode_asgi_field)

    def __init__(
        self,
        app: Callable[..., Any],
        log: logging.Logger,
        state: dict[str, Any] | None,
        root_path: str = "",
        id_header: str = "",
    ) -> None:
        self.app = app
        self.log = log
        self.scope: Callable[[Exchange], dict[str, Any]] = ScopeBuilder(
            state, root_path, id_header
        ).build
        self._negotiate = _load_negotiate(log)
        self._start = EagerTasks(asyncio.get_running_loop()).start
        self.running: set[AsgiCall] = set()
        """Keeps the tasks that wait alive, which the loop holds only weakly."""

    def handle(self, exchange: Exchange) -> None:
        """Give the request to a task."""
        call = HttpCall(self, exchange)
        task = self._start(call.run())
        if not task.done():
            exchange.handler_state = call
            call.task = task
            self.running.add(call)

    def upgrade(self, exchange: Exchange) -> None:
        """Give a request for a WebSocket to a task."""
        call = self._negotiate(self, HttpCall(self, exchange))
        if call is not None:
            exchange.handler_state = call
            call.task = self._start(call.run())

    async def wait_for_calls(self) -> None:
        """Wait for calls that go on after their response, as background tasks do; and cancel,
        after a while, those that wait for anything but the end of their WebSocket."""
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
        """Tell where a call waits that has had the ball for too long, and cancel it."""
        what = f"{describe(exchange)} for {call_duration(exchange):.1f}s"
        try:
            where = format_stacks(inspect_waiting_request(exchange).stacks)
        except Exception as error:  # it reads what apps have made; the tick must go on
            where = f"  which cannot be told: {error!r}"
        self.log.error("no answer in time: %s, cancelled where it waits\n%s", what, where)
        if isinstance(exchange.handler_state, AsgiCall):
            exchange.handler_state.time_out()

    def client_disconnected(self, exchange: Exchange) -> None:
        """Wake an app that waits for the disconnect."""
        if isinstance(exchange.handler_state, AsgiCall):
            exchange.handler_state.disconnect()


def _load_negotiate(log: logging.Logger) -> Callable[[CallContext, HttpCall], Any]:
    """What judges requests for a WebSocket. Where ``websockets`` is missing they get a 500, and the
    log says why."""
    try:
        from prefork.worker.asgi.asgi_websocket import negotiate  # noqa: PLC0415
    except ImportError as error:
        log.error("WebSockets get a 500: %s; %s", error, INCOMPLETE_ENVIRONMENT)
        return _refuse_websocket
    return negotiate


def _refuse_websocket(handler: CallContext, http: HttpCall) -> None:
    handler.log.error(
        "no WebSocket for %s: %s", http.exchange.request.describe(), INCOMPLETE_ENVIRONMENT
    )
    http.exchange.send_error(500)
