"""The base class of services whose apps answer HTTP requests."""

from collections.abc import Sequence

from prefork.worker.accept.endpoints import Endpoint
from prefork.worker.companions import Companions
from prefork.worker.http_app import HttpApp
from prefork.worker.http_worker import HttpWorker
from prefork.worker.interface import AppService
from prefork.worker.shutdown import Shutdown


class HttpService(AppService, HttpApp):
    """Serves an app that is called for each request that an HTTP worker has read."""

    def serve(
        self, endpoints: Sequence[Endpoint], shutdown: Shutdown, companions: Companions
    ) -> None:
        """Serve the app by an HTTP worker."""
        HttpWorker(self.context, self, endpoints, self.channel, shutdown).run(companions)
