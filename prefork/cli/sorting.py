"""The rows of ``prefork list`` and what they can be sorted by."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

App = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """An app, as far as it answers with what it uses: percent of a core, and bytes (PSS)."""

    app: App
    cpu: float | None = None
    memory: int | None = None

    @property
    def state(self) -> str:
        """See Client.apps."""
        return str(self.app.get("state", "?"))

    @property
    def alive(self) -> bool:
        """Whether its master runs."""
        return self.state not in ("dead", "stopped")

    @property
    def started(self) -> float | None:
        """None: it does not run."""
        return self.app.get("started") if self.alive else None


Key = Callable[[Row], Any]

SORTS: dict[str, tuple[Key, bool]] = {
    "name": (lambda row: row.app["name"], False),
    "namespace": (lambda row: row.app.get("namespace") or None, False),
    "state": (lambda row: row.state, False),
    "pid": (lambda row: row.app.get("pid") if row.alive else None, False),
    "workers": (lambda row: row.app.get("ready"), True),
    "gen": (lambda row: row.app.get("generation"), True),
    "restarts": (lambda row: row.app.get("restarts"), True),
    "uptime": (lambda row: None if row.started is None else -row.started, True),
    "cpu": (lambda row: row.cpu, True),
    "memory": (lambda row: row.memory, True),
}
"""By what a list is sorted, and whether the largest comes first. Who has no such value is last."""


def in_order(rows: Iterable[Row], sort: str) -> list[Row]:
    """By a key of SORTS; equal ones by name."""
    key, reverse = SORTS[sort]
    by_name = sorted(rows, key=lambda row: str(row.app["name"]))
    have = [row for row in by_name if key(row) is not None]
    have.sort(key=key, reverse=reverse)
    return have + [row for row in by_name if key(row) is None]
