"""All apps, sampled again and again: for ``monit`` and ``list --watch``."""

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
    """A sampler of all apps, which remembers what it needs for the next sample.

    CPU is that of the time since the last call, rates and quantiles are those of the last seconds.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._usage = UsageSampler()
        self._windowed: dict[str, WindowedStats] = {}
        self._log_tail: tuple[str, LogTail] | None = None
        """The name of an app and the last records of its log."""

    def sample_apps(self) -> list[dict[str, Any]]:
        """Describe all apps as they are now, with usage and figures of the last seconds.

        Raises PreforkError.
        """
        apps = []
        for app in self._usage.sample(self._client.apps()):
            board = open_app_scoreboard(app) if is_running(app) else None
            stats = self._windowed.setdefault(str(app["name"]), WindowedStats())
            apps.append(stats.add_to(app, list(board or ()), time.monotonic()))
        return apps

    def recent_log(self, name: str) -> Sequence[Record] | None:
        """Return the last log records of the app with this name; None: the app logs to no file."""
        if self._log_tail is None or self._log_tail[0] != name:
            found = [entry for entry in self._client.find("all") if entry.name == name]
            if found and not found[0].is_manageable:
                # The folder of another user's app cannot be read; its master names the log files.
                found[0].state = self._client.describe(found[0])
            self._log_tail = (name, LogTail(found[0])) if found else None
        return self._log_tail[1].read() if self._log_tail else None
