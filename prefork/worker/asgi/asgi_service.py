"""Start and stop the ASGI app of one worker."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from prefork import _speed
from prefork.config.drain_times import drain_times
from prefork.http import response_head
from prefork.http.server_state import RequestHandler
from prefork.worker.accept.endpoints import Endpoint
from prefork.worker.app_api import leader_callbacks
from prefork.worker.asgi.asgi_handler import AsgiHandler
from prefork.worker.asgi.call_drain import CallDrainer
from prefork.worker.asgi.lifespan import Lifespan
from prefork.worker.companions import Companions
from prefork.worker.http_app import Finish
from prefork.worker.http_service import HttpService
from prefork.worker.master_channel import MasterChannel
from prefork.worker.shutdown import Shutdown
from prefork.worker.worker_context import WorkerContext


class AsgiService(HttpService):
    """ASGI 3: a worker runs any number of calls in its event loop."""

    calls_at_once = 0
    blocks_loop = False

    def __init__(
        self, app: Callable[..., Any], context: WorkerContext, channel: MasterChannel
    ) -> None:
        super().__init__(app, context, channel)
        self._lifespan = Lifespan(app, context.log)
        self._call_drainer: CallDrainer | None = None

    @staticmethod
    def import_optional_modules() -> None:
        """Import what WebSockets need."""
        with suppress(ImportError):  # the first worker that needs it reports it
            import_module("prefork.worker.asgi.asgi_websocket")

    def serve(
        self, endpoints: Sequence[Endpoint], shutdown: Shutdown, companions: Companions
    ) -> None:
        """Serve the app; a report about a hang shows where its lifespan waits."""
        companions.watchdog.find_lifespan = self._lifespan.find_unanswered
        super().serve(endpoints, shutdown, companions)

    async def start(self) -> RequestHandler:
        """Wait for the startup of the app's lifespan, and make the handler."""
        leader_callbacks().loop = asyncio.get_running_loop()
        await self._lifespan.start()
        config, log = self.context.config, self.context.log
        handler = AsgiHandler(
            self.app, log, self._lifespan.state, config.root_path, config.request_id_header
        )
        if config.websocket == "off":
            handler.ignore_upgrades()
        if config.request_timeout != config.timeout:
            handler.timeout_flag = "--request-timeout"
        times = drain_times(config.kill_timeout, config.stream_timeout)
        self._call_drainer = CallDrainer(handler, times, log)
        if _speed.IS_COMPILED:
            self.plain_calls = _speed.AsgiCalls(
                handler, handler.scopes, handler.start_task, response_head
            )
        return handler

    def tick(self) -> None:
        """End calls that are due to end while the worker drains."""
        if self._call_drainer is not None:
            self._call_drainer.tick()

    async def stop(self, finish: Finish, stopped_at: float) -> None:
        """End the calls, and wait for the shutdown of the app's lifespan."""
        assert self._call_drainer is not None
        self._call_drainer.start(stopped_at)
        finishing = asyncio.ensure_future(finish())
        await asyncio.wait((finishing,), timeout=max(0.0, self._call_drainer.remaining))
        # The calls have ended, even if a client has not taken all of a response yet or busy work
        # goes on. The lifespan shutdown does not wait for these: without an end they would take its
        # time away, which ends with the kill timeout.
        await self._lifespan.stop()
        await finishing
