"""ASGI lifespan: startup and shutdown events of the app (asgi.readthedocs.io, Lifespan 2.0).

The app is called once per worker, in a task that lives as long as the worker.

Design
------
- **An app that raises before it asks for its first event has no lifespan; one that raises after it
  asked has failed.** The specification would have the server go on in both cases. But an app that
  asked has said that it wants to start something, and could not.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from prefork.errors import AppError
from prefork.worker import fork_hooks
from prefork.worker.importer import format_app_traceback


class Lifespan:
    """The lifespan of one worker's app. ``state`` is filled by the app; requests get
    copies of it."""

    def __init__(self, app: Callable[..., Any], log: logging.Logger) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._log = log
        self._receive_called = False
        self._startup_complete = False
        self._is_shutting_down = False
        self._failure = ""
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Wait until the app has started up. Raises AppError when its startup failed.

        An app that does not support lifespan counts as started.
        """
        self._events.put_nowait({"type": "lifespan.startup"})
        self._task = asyncio.get_running_loop().create_task(self._run())
        await self._wait_for_answer()
        if self._failure and not self._startup_complete:
            raise AppError("the app's lifespan startup failed", self._failure)

    async def stop(self) -> None:
        """Wait until the app has shut down; a failure is logged. The kill timeout bounds
        the wait."""
        if self._startup_complete and self._task is not None and not self._task.done():
            self._is_shutting_down = True
            self._answered.clear()
            self._events.put_nowait({"type": "lifespan.shutdown"})
            await self._wait_for_answer()
            if self._failure:
                self._log.error("the app's lifespan shutdown failed\n%s", self._failure)

    def find_unanswered(self) -> "asyncio.Task[None] | None":
        """Return the app's task while an event has no answer; None: nothing waits for one."""
        task = self._task
        return None if task is None or task.done() or self._answered.is_set() else task

    async def _wait_for_answer(self) -> None:
        """Wait until the app has answered the event, or its task has ended."""
        assert self._task is not None
        answer = asyncio.get_running_loop().create_task(self._answered.wait())
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        answer.cancel()

    async def _run(self) -> None:
        """Call the app with a lifespan scope, and note how the call ended."""
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._receive, self._send)
            if fork_hooks.in_child:
                fork_hooks.exit_child()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if fork_hooks.in_child:
                fork_hooks.exit_child(error)
            if self._receive_called:
                self._failure = format_app_traceback(error)
                if self._startup_complete and not self._is_shutting_down:
                    self._log.error("the app's lifespan ended early\n%s", self._failure)
            else:
                self._log.debug("the app does not support lifespan: %r", error)

    async def _receive(self) -> dict[str, Any]:
        """Return the next lifespan event, when there is one."""
        self._receive_called = True
        return await self._events.get()

    async def _send(self, message: dict[str, Any]) -> None:
        """Take the app's answer to an event. Raises AppError for an unknown message."""
        match message["type"]:
            case "lifespan.startup.complete":
                self._startup_complete = True
            case "lifespan.shutdown.complete":
                pass
            case "lifespan.startup.failed" | "lifespan.shutdown.failed":
                self._failure = message.get("message") or "the app gave no reason"
            case other:
                raise AppError(f"the app sent {other!r}, which lifespan does not know")
        self._answered.set()
