"""The properties of the app that an HTTP worker serves, whatever interface the app has."""

from abc import abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias

from prefork.http.server_state import PlainCalls, RequestHandler

Finish: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Waits until all connections, calls and busy work of the worker have ended."""


class HttpApp(Protocol):
    """The app of one HTTP worker."""

    @property
    @abstractmethod
    def calls_at_once(self) -> int:
        """Calls that the app can run at once; 0: any number."""

    @property
    @abstractmethod
    def blocks_loop(self) -> bool:
        """Return whether each call of the app blocks the event loop until it is over."""

    @property
    def keeps_connections(self) -> bool:
        """Return whether a connection stays with its worker. A loop that is never blocked has read
        the next request before a sibling could."""
        return False

    plain_calls: PlainCalls | None = None
    """The compiled way for plain requests, set by ``start``; None: there is none."""

    @abstractmethod
    async def start(self) -> RequestHandler:
        """Start the app, and return what takes its requests. Called in the running loop. Raises
        AppError when the app cannot start."""

    def tick(self) -> None:
        """Do what is due; called with each heartbeat."""

    @abstractmethod
    async def stop(self, finish: Finish, stopped_at: float) -> None:
        """Wait until the worker has finished its requests, and stop the app. ``stopped_at``: when
        the worker was asked to stop (monotonic seconds)."""
