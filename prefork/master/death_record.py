"""The last deaths of workers, which ``prefork why`` shows, and how often slots were restarted.

Design
------
- **The deaths belong to the app, not to one master.** They are kept in the app's folder when the
  master ends, so that the reason of a failed start can be asked for later.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
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

    ``kept``: those of earlier masters. ``restarts``: by slot, how often its worker failed and was
    replaced, under this master.
    """

    def __init__(self, kept: Iterable[Mapping[str, Any]] = ()) -> None:
        known = list(kept)
        recycled = (death for death in known if death["cause"] == Cause.RECYCLE)
        others = (death for death in known if death["cause"] != Cause.RECYCLE)
        self._unplanned: deque[Mapping[str, Any]] = deque(others, MAX_DEATHS)
        self._recycled: deque[Mapping[str, Any]] = deque(recycled, MAX_RECYCLED)
        self.restarts: Counter[int] = Counter()

    def add(self, gone: orders.WorkerGone, death: dict[str, Any]) -> None:
        """Record a death. ``death``: its time and the fields of the event, for JSON."""
        if not _was_planned(gone):
            self._unplanned.append(death)
            self.restarts[gone.slot] += gone.retry_in is not None
        elif gone.why:
            self._recycled.append(death)

    def all(self) -> list[Mapping[str, Any]]:
        """Return the remembered deaths, in no order."""
        return [*self._unplanned, *self._recycled]

    def clear(self) -> None:
        """Forget all deaths, and count restarts from zero."""
        self._unplanned.clear()
        self._recycled.clear()
        self.restarts.clear()


def _was_planned(gone: orders.WorkerGone) -> bool:
    """Return whether the master ordered this death, and the worker left by itself."""
    return gone.cause in PLANNED_CAUSES and not gone.killed
