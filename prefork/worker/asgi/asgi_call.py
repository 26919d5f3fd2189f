"""One call of an ASGI app: what calls for HTTP requests and for WebSockets have in common."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from prefork.http.exchange import Exchange
from prefork.worker import fork_hooks
from prefork.worker.importer import format_app_traceback


class CallContext(Protocol):
    """The part of AsgiHandler that a call needs."""

    app: Callable[..., Any]
    log: logging.Logger
    scope: Callable[[Exchange], dict[str, Any]]
    running: "set[AsgiCall]"


class AsgiCall:
    """One call of the app, in a task of its own."""

    exchange: Exchange
    _handler: CallContext
    task: asyncio.Task[None] | None = None
    timed_out = False
    drain_timeout: float | None = None
    """Seconds that it may go on while the worker drains; None: as long as the worker may."""
    streaming_since: float | None = None
    drain_notified_at: float | None = None
    cancelled_by_drain = False
    """While the worker drains, see call_drain.py: when its response was first seen to stream, when
    the
    app was told to end it, in seconds from the stop signal, and whether it was cancelled."""

    @property
    def is_streaming(self) -> bool:
        """Whether it is in the middle of a response of unknown length."""
        return False

    def begin_drain(self) -> None:
        """The worker begins to leave."""

    def notify_drain(self) -> None:
        """The worker leaves: wake an app that waits for its client."""

    def cancel_for_drain(self) -> None:
        """Cancel it because the worker leaves."""
        self.cancelled_by_drain = True
        if self.task is not None:
            self.task.cancel()

    async def run(self) -> None:
        """Call the app and see to it that the client gets an answer. Never raises."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """There is nobody to answer any more, or nothing left to answer."""
        raise NotImplementedError

    def time_out(self) -> None:
        """Throw CancelledError into the app; one that swallows it is the master's to end."""
        self.timed_out = True
        if self.task is not None:
            self.task.cancel()

    def _log_failure(self, what: str, error: BaseException, quiet: bool) -> None:
        """``quiet``: an app that is torn down because its client left has not failed."""
        if fork_hooks.in_child:
            fork_hooks.exit_child(error)
        if self.timed_out:
            what += " (no answer in time)"
            quiet = quiet or isinstance(error, asyncio.CancelledError)  # ``overdue`` has told of it
        level = logging.DEBUG if quiet else logging.ERROR
        trace = format_app_traceback(error).rstrip()
        self._handler.log.log(level, "the app failed on %s\n%s", what, trace)
