"""Start and stop the WSGI app of one worker."""

from prefork import _speed
from prefork.http import response_head
from prefork.http.server_state import RequestHandler
from prefork.worker import fork_hooks
from prefork.worker.http_app import Finish
from prefork.worker.http_service import HttpService
from prefork.worker.wsgi.environ import EnvironBuilder
from prefork.worker.wsgi.wsgi_app import WsgiHandler
from prefork.worker.wsgi.wsgi_threads import ThreadedWsgiHandler


class WsgiService(HttpService):
    """WSGI (PEP 3333), in the thread of the event loop or in a pool of threads."""

    @property
    def calls_at_once(self) -> int:
        """One call, or one in each thread."""
        return self.context.config.threads or 1

    @property
    def blocks_loop(self) -> bool:
        """Without threads, a call runs in the loop's thread."""
        return not self.context.config.threads

    @property
    def keeps_connections(self) -> bool:
        """With threads, the loop only reads and writes."""
        return not self.blocks_loop

    async def start(self) -> RequestHandler:
        """Make the handler; a WSGI app has no startup."""
        config = self.context.config
        several = config.workers != 1 or config.max_workers is not None
        environ = EnvironBuilder(
            config.threads > 0, several, config.root_path, config.request_id_header
        )
        basics = (self.app, self.channel, self.context.log, environ)
        if config.threads:
            return ThreadedWsgiHandler(*basics, config.threads, config.threads_queue)
        handler = WsgiHandler(*basics)
        if _speed.IS_COMPILED:
            self.plain_calls = _speed.WsgiCalls(handler, environ, response_head, fork_hooks)
        return handler

    async def stop(self, finish: Finish, stopped_at: float) -> None:  # noqa: ARG002
        """Wait for the requests; a WSGI app has no shutdown."""
        # Not in a task of its own: WSGI hides the running loop (wsgi_app.py).
        await finish()
