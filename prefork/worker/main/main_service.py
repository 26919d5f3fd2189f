"""Serve ``main(listener)`` in one worker."""

from collections.abc import Sequence

from prefork.errors import UsageError
from prefork.worker.accept.endpoints import Endpoint
from prefork.worker.companions import Companions
from prefork.worker.interface import AppService
from prefork.worker.main.socket_app import run_main
from prefork.worker.shutdown import Shutdown


class MainService(AppService):
    """Calls main, which accepts its connections itself."""

    def serve(
        self, endpoints: Sequence[Endpoint], shutdown: Shutdown, companions: Companions
    ) -> None:
        """Call main with the listeners. Raises UsageError for listeners that need more than an
        accept."""
        context = self.context
        if not all(endpoint.is_direct for endpoint in endpoints):
            raise UsageError(
                "main(listener) accepts its connections itself, so tls-cert and proxy-protocol "
                "have no effect on it; remove them from the settings"
            )
        context.handoff_queue.close()
        run_main(
            self.app,
            list(context.listeners),
            context.config,
            self.channel,
            shutdown,
            context.log,
            companions.hooks,
        )
