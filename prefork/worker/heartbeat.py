"""The heartbeat of a worker: a few times a second, from the loop that serves.

A blocked loop misses it, and that is its point. All that is not worth a timer of its own happens
here, too.
"""

import asyncio
from collections.abc import Callable, Sequence

from prefork.http.service import Service
from prefork.worker.figures import Figures
from prefork.worker.line import Line


class Heartbeat:
    """``also`` is called at each beat."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        service: Service,
        line: Line,
        figures: Figures,
        also: Sequence[Callable[[], None]],
    ) -> None:
        self._loop = loop
        self._service = service
        self._line = line
        self._figures = figures
        self._also = also
        self._next: asyncio.TimerHandle | None = None

    def beat(self) -> None:
        """Now, and from now on."""
        if self._next is not None:
            self._next.cancel()
        wait = self._service.tick()
        self._figures.publish(self._service, self._loop.time(), wait)
        for call in self._also:
            call()
        self._line.promise(self._service.oldest, wait)
        self._next = self._loop.call_later(wait, self.beat)
