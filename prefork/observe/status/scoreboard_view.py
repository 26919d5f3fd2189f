"""Read the scoreboard and the memory of the workers, for the responses of the status server."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

from prefork.observe.status.history import VIEWER_TIMEOUT, History
from prefork.observe.status.store_health import StoreHealth
from prefork.observe.status.worker_memory import WorkerMemory
from prefork.plural import pluralize
from prefork.unix.scoreboard import Rows
from prefork.version import __version__
from prefork.wire.fields import STATES, VALUES, WORKER_STATES
from prefork.wire.row_values import worker_values

READY = WORKER_STATES.index("ready")
_SERVES = {STATES.index(state) for state in ("running", "reloading", "frozen", "failing")}


COLUMNS = [
    {"key": value.key, "title": value.column.page_title or value.column.title, "unit": value.unit}
    for value in VALUES
    if value.column is not None and value.column.workers is not None
]
"""The values that the page has in its table of workers, in the order of the columns."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Says whether the app can serve requests, with a line of text that gives the reason."""

    ready: bool
    text: str


class ScoreboardView:
    """The view of one app. ``min_ready`` is the number of workers that must be ready. ``health``:
    of the store; None: the store is not required."""

    def __init__(
        self, app: str, rows: Rows, min_ready: int, health: StoreHealth | None = None
    ) -> None:
        self.health = health
        self.app = app
        self.min_ready = min_ready
        self._rows = rows
        self._history = History()
        self._memory = WorkerMemory()
        self._viewed_at = -VIEWER_TIMEOUT

    # Samples.

    def note_viewer(self) -> bool:
        """Note that the page asked for data; returns whether samples begin with this request."""
        begins = not self.is_watched
        self._viewed_at = monotonic()
        if begins:
            self._history.set_baseline(self.rows(), self._viewed_at)
        return begins

    @property
    def is_watched(self) -> bool:
        """Return whether the page asked for data in the last three minutes."""
        return monotonic() - self._viewed_at < VIEWER_TIMEOUT

    def sample(self) -> None:
        """Add a sample to the history."""
        rows = self.rows()
        self._history.add_sample(self.head(), rows, self.memory(rows), monotonic(), time())

    # Readings.

    def rows(self) -> list[Mapping[str, Any]]:
        """Return the scoreboard rows of all workers, sorted by slot and age."""
        alive = (row for row in self._rows if row["pid"])
        return sorted(alive, key=lambda row: (row["slot"], row["worker"]))

    def head(self) -> dict[str, Any]:
        """Return the scoreboard row of the master."""
        return self._rows.head()

    async def refresh_memory(self) -> None:
        """Measure the memory of the workers if it is due."""
        await self._memory.refresh([row["pid"] for row in self.rows()], self.head()["pid"])

    def memory(self, rows: list[Mapping[str, Any]]) -> dict[int, int]:
        """Return the memory of the workers in bytes, by pid, as far as it was measured."""
        sizes = self._memory.sizes
        return {row["pid"]: sizes[row["pid"]] for row in rows if sizes.get(row["pid"])}

    def verdict(self) -> Verdict:
        """Return whether the app can serve requests, and why."""
        head = self.head()
        ready = sum(row["state"] == READY for row in self._rows)
        if head["state"] not in _SERVES:
            return Verdict(False, STATES[head["state"]] or "starting")
        if not head["target"]:
            return Verdict(False, "draining")
        if ready < self.min_ready:
            return Verdict(
                False, f"{ready} of at least {pluralize(self.min_ready, 'worker')} ready"
            )
        if self.health is not None and (problem := self.health.problem()):
            return Verdict(False, f"the store is unavailable: {problem}")
        return Verdict(True, f"ready: {ready} of {pluralize(head['target'], 'worker')}")

    def status(self, since: float) -> dict[str, Any]:
        """Return the data of the page, with the samples after the Unix time ``since``."""
        now, head, rows = monotonic(), self.head(), self.rows()
        memory = self.memory(rows)
        verdict = self.verdict()
        return {
            "app": self.app,
            "version": __version__,
            "at": round(time(), 3),
            "pid": head["pid"],
            "began": head["began"],
            "state": STATES[head["state"]],
            "ready": sum(row["state"] == READY for row in rows),
            "verdict": {"ready": verdict.ready, "text": verdict.text},
            **{name: head[name] for name in ("target", "generation", "reloads", "failures")},
            "restarts": head["restarts"],
            "memory": sum(memory.values()),
            "workers": [
                {
                    **{name: row[name] for name in ("slot", "generation", "pid", "born")},
                    "state": WORKER_STATES[row["state"]],
                    "memory": memory.get(row["pid"]),
                    "memory_is": "pss" if row["pid"] in self._memory.exact else "rss",
                    **worker_values(row, now),
                }
                for row in rows
            ],
            "columns": COLUMNS,
            "history": self._history.since(since),
        }
