"""Tasks that run at once: up to its first wait, a request costs no turn of the event loop.

Python 3.12 has this as ``eager_start``. Older versions of asyncio put the first step of a new task
into the loop's queue by ``loop.call_soon``; here that one call is intercepted, and the step is run
where the task was made. To the code inside, it is a task like any other: ``current_task``,
cancellation, contexts and timeouts work, and only the order differs. A process that the app forks
ends where it comes back here (fork_hooks.py).
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from prefork.worker import fork_hooks

Step = Callable[[], object]


class EagerTasks:
    """Starts tasks of one loop, from outside of its tasks: in a protocol's callbacks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._step: Step = lambda: None
        self._context: Context | None = None
        if sys.version_info >= (3, 12):
            self.start = self._start_natively

    def start(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """A task that has run up to its first wait; it may be done."""
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
        self._step, self._context = step, context

    def _start_natively(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.Task(  # type: ignore[call-arg]
            coroutine, loop=self._loop, name="request", eager_start=True
        )
        if fork_hooks.in_child:
            fork_hooks.exit_child()
        return task
