"""The last deaths of workers, which ``prefork why`` shows, and how often slots were restarted."""

from collections import Counter, deque
from typing import Any

from prefork.pool import orders
from prefork.pool.orders import Cause

MAX_DEATHS = 100
"""Unplanned deaths that are remembered for ``why``."""

MAX_RECYCLED = 20
"""Recycled workers that are remembered for ``why``. They have a list of their own, because many of
them must not displace a crash."""

PLANNED_CAUSES = {Cause.RECYCLE, Cause.SCALE, Cause.RELOAD, Cause.STOP}
"""Causes of a death that the master ordered."""


class DeathRecord:
    """The last deaths, unplanned ones and recycled workers, each as a dictionary for JSON.

    ``restarts``: by slot, how often its worker failed and was replaced.
    """

    def __init__(self) -> None:
        self._unplanned: deque[dict[str, Any]] = deque(maxlen=MAX_DEATHS)
        self._recycled: deque[dict[str, Any]] = deque(maxlen=MAX_RECYCLED)
        self.restarts: Counter[int] = Counter()

    def add(self, gone: orders.WorkerGone, death: dict[str, Any]) -> None:
        """Record a death. ``death``: its time and the fields of the event, for JSON."""
        if not _was_planned(gone):
            self._unplanned.append(death)
            self.restarts[gone.slot] += gone.retry_in is not None
        elif gone.why:
            self._recycled.append(death)

    def all(self) -> list[dict[str, Any]]:
        """Return the remembered deaths, in no order."""
        return [*self._unplanned, *self._recycled]

    def clear(self) -> None:
        """Forget all deaths, and count restarts from zero."""
        self._unplanned.clear()
        self._recycled.clear()
        self.restarts.clear()


def _was_planned(gone: orders.WorkerGone) -> bool:
    """Whether the master ordered this death, and the worker left by itself."""
    return gone.cause in PLANNED_CAUSES and not gone.killed
