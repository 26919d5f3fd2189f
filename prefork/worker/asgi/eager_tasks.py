"""Tasks that run at once: up to its first wait, a request costs no turn of the event loop.

Python 3.12 has this as ``eager_start``. Older versions of asyncio put the first step of a new task
into the loop's queue by ``loop.call_soon``. Here that one call is intercepted, and the step runs
where the task was made. To the code inside it is a task like any other: ``current_task``,
cancellation, contexts and timeouts work; only the order differs.

Design
------
- **Tasks start at once on Python 3.11, too,** which saves a turn of the loop per request.
- **A child process that the app forks ends where its first step returns** (fork_hooks.py), so it
  never comes back to the worker's loop.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from prefork.worker import fork_hooks

Step = Callable[[], object]


class EagerTasks:
    """Starts tasks of one loop. Call it from outside of its tasks: in the callbacks of a
    protocol."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._step: Step = lambda: None
        self._context: Context | None = None
        if sys.version_info >= (3, 12):
            self.start = self._start_natively

    def start(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Start a task that has run up to its first wait when this returns; it may be
        done already."""
        loop = self._loop
        loop.call_soon = self._capture_step  # type: ignore[method-assign, assignment]
        try:
            task = asyncio.Task(coroutine, loop=loop, name="request")
        finally:
            del loop.call_soon
        assert self._context is not None
        self._context.run(self._step)
        if fork_hooks.in_child:
            fork_hooks.exit_child()
        return task

    def _capture_step(self, step: Step, *, context: Context) -> None:
        """Stand in for ``loop.call_soon`` while a task is made, and keep its first step."""
        self._step, self._context = step, context

    def _start_natively(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Start a task with Python's own ``eager_start`` (3.12)."""
        task = asyncio.Task(  # type: ignore[call-arg]
            coroutine, loop=self._loop, name="request", eager_start=True
        )
        if fork_hooks.in_child:
            fork_hooks.exit_child()
        return task
