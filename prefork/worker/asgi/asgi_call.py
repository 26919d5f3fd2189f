"""The base class of one call of an ASGI app, for HTTP requests and for WebSockets.

A call runs in a task of its own. The service ends it for two reasons: no answer in time
(``time_out``), or a worker that drains (``begin_drain``, ``notify_drain``, ``cancel_for_drain``;
call_drain.py decides when).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from prefork.http.exchange import Exchange
from prefork.worker import fork_hooks
from prefork.worker.importer import format_app_traceback


class CallContext(Protocol):
    """The part of AsgiHandler that a call needs: the app, the log, the scope builder, the open
    calls.

    A Protocol instead of an import of the handler, which imports the calls.
    """

    app: Callable[..., Any]
    log: logging.Logger
    scope: Callable[[Exchange], dict[str, Any]]
    running: "set[AsgiCall]"


class AsgiCall:
    """One call of the app, in a task of its own.

    ``task`` is None until the task has been started, and stays None when the call ended before its
    first wait.
    """

    exchange: Exchange
    _handler: CallContext
    task: asyncio.Task[None] | None = None
    timed_out = False
    drain_timeout: float | None = None
    """Seconds for which the call may go on after its worker began to drain; None: no limit of its
    own."""
    streaming_since: float | None = None
    """When the draining worker first saw the response stream, in seconds from the stop signal."""
    drain_notified_at: float | None = None
    """When the app was told that the worker drains, in seconds from the stop signal."""
    cancelled_by_drain = False
    """True if the draining worker has cancelled the call."""

    @property
    def is_streaming(self) -> bool:
        """Return whether the call is in the middle of a response of unknown length."""
        return False

    def begin_drain(self) -> None:
        """React to the start of the drain; by default nothing happens."""

    def notify_drain(self) -> None:
        """Tell the app that its worker drains, in terms of its protocol; by default nothing
        happens."""

    def cancel_for_drain(self) -> None:
        """Cancel the task because its worker drains."""
        self.cancelled_by_drain = True
        if self.task is not None:
            self.task.cancel()

    async def run(self) -> None:
        """Call the app and make sure that the client gets an answer. Never raises."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Wake the app that waits in ``receive``: its client has left, or has got its
        whole answer."""
        raise NotImplementedError

    def time_out(self) -> None:
        """Cancel the task because ``--timeout`` is over.

        An app that swallows the CancelledError keeps its worker busy until the master ends it.
        """
        self.timed_out = True
        if self.task is not None:
            self.task.cancel()

    def _log_failure(self, what: str, error: BaseException, quiet: bool) -> None:
        """Log that the app failed on the request ``what``, with the app's part of the traceback.

        ``quiet``: at debug level only, because the client had left and the app was torn down.
        """
        if fork_hooks.in_child:
            fork_hooks.exit_child(error)
        if self.timed_out:
            what += " (no answer in time, --timeout)"
            quiet = quiet or isinstance(error, asyncio.CancelledError)  # logged by the handler
        level = logging.DEBUG if quiet else logging.ERROR
        trace = format_app_traceback(error).rstrip()
        self._handler.log.log(level, "the app failed on %s\n%s", what, trace)
