"""One call of the app, as its exchange knows it."""

import asyncio
from typing import Protocol


class AppCall(Protocol):
    """A call of the app that works on a request, as far as it can be ended from outside."""

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """The task that runs the call; None: it runs in a thread, or has not begun."""

    def time_out(self) -> None:
        """End the call because it took too long, as far as that is possible."""

    def disconnect(self) -> None:
        """Tell the call that its client has left."""
