"""All apps, from one look to the next: for ``monit`` and ``list --watch``."""

import time
from collections.abc import Sequence
from typing import Any

from prefork.cli.registry.client import Client, alive
from prefork.cli.registry.log_tail import Recent
from prefork.cli.registry.process_usage import Gauges
from prefork.cli.registry.scoreboard_reader import scoreboard
from prefork.cli.registry.windowed_stats import Lately
from prefork.observe.log_records import Record


class Look:
    """Remembers the last ones: CPU is of the time in between, requests are of the last seconds."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._gauges = Gauges()
        self._lately: dict[str, Lately] = {}
        self._recent: tuple[str, Recent] | None = None

    def apps(self) -> list[dict[str, Any]]:
        """All of them, as they are now. Raises PreforkError."""
        apps = []
        for app in map(self._gauges.measured, self._client.apps()):
            board = scoreboard(app) if alive(app) else None
            lately = self._lately.setdefault(str(app["name"]), Lately())
            apps.append(lately.since(app, list(board or ()), time.monotonic()))
        return apps

    def log(self, name: str) -> Sequence[Record] | None:
        """Of one app."""
        if self._recent is None or self._recent[0] != name:
            found = [entry for entry in self._client.find("all") if entry.name == name]
            if found and not found[0].is_ours:
                found[0].state = self._client.describe(found[0])  # its master tells where they are
            self._recent = (name, Recent(found[0])) if found else None
        return self._recent[1].look() if self._recent else None
