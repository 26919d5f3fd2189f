"""A WSGI app in whose worker the kernel once gives an answer that could lose a connection.

The epoll that a listener wakes reports a connection, and the queues, asked at once, do not. Each
worker gets exactly these two answers once, for the first connection after the file ``armed``
exists.
"""

import os
import select
from collections.abc import Callable, Iterable
from typing import Any

from prefork.worker.accept import accept_events


class Answers:
    """Which answers of the kernel come next in this worker."""

    has_reported = False
    """True if the epoll has reported a connection and the queues were not asked since."""
    has_lied = False

    def of_queues(self, reported: list[Any]) -> list[Any]:
        """Return what the queues report: once nothing, although a connection waits."""
        lies, self.has_reported = self.has_reported and not self.has_lied and bool(reported), False
        if not lies:
            return reported
        self.has_lied = True
        with open("lied", "a") as file:
            file.write(f"{os.getpid()}\n")
        return []


ANSWERS = Answers()


class Kernel:
    """An epoll, or a poll, of the module ``select``. The first one made is for wakeups."""

    made = 0

    def __init__(self, real: Any) -> None:
        self._real = real
        self._wakes = Kernel.made == 0
        Kernel.made += 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def poll(self, timeout: float) -> list[Any]:
        """Return what the kernel reports, except once."""
        reported: list[Any] = self._real.poll(timeout)
        if not self._wakes:
            return ANSWERS.of_queues(reported)
        ANSWERS.has_reported = bool(reported) and os.path.exists("armed")
        return reported


accept_events.epoll = lambda: Kernel(select.epoll())  # type: ignore[assignment]
accept_events.poll = lambda: Kernel(select.poll())  # type: ignore[assignment]


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the worker's pid."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]
