"""All apps, from one look to the next: for ``monit`` and ``list --watch``."""

import time
from collections.abc import Sequence
from typing import Any

from prefork.cli.registry.app_state import is_running
from prefork.cli.registry.client import Client
from prefork.cli.registry.log_tail import LogTail
from prefork.cli.registry.process_usage import UsageSampler
from prefork.cli.registry.scoreboard_reader import open_app_scoreboard
from prefork.cli.registry.windowed_stats import WindowedStats
from prefork.observe.log_records import Record


class AppSampler:
    """Remembers the last ones: CPU is of the time in between, requests are of the last seconds."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._usage = UsageSampler()
        self._windowed: dict[str, WindowedStats] = {}
        self._log_tail: tuple[str, LogTail] | None = None

    def sample_apps(self) -> list[dict[str, Any]]:
        """All of them, as they are now. Raises PreforkError."""
        apps = []
        for app in map(self._usage.sample, self._client.apps()):
            board = open_app_scoreboard(app) if is_running(app) else None
            stats = self._windowed.setdefault(str(app["name"]), WindowedStats())
            apps.append(stats.add_to(app, list(board or ()), time.monotonic()))
        return apps

    def recent_log(self, name: str) -> Sequence[Record] | None:
        """Of one app."""
        if self._log_tail is None or self._log_tail[0] != name:
            found = [entry for entry in self._client.find("all") if entry.name == name]
            if found and not found[0].is_manageable:
                found[0].state = self._client.describe(found[0])  # its master tells where they are
            self._log_tail = (name, LogTail(found[0])) if found else None
        return self._log_tail[1].read() if self._log_tail else None
