"""What ``list``, ``show`` and ``monit`` tell of each app and of each worker, column by column.

The cells are made of what ``Client.apps`` describes, as cli/registry/process_usage.py measured it.
"""

from collections.abc import Callable
from typing import Any

from rich.text import Text

from prefork.cli.registry.app_state import is_running
from prefork.cli.view.columns import Column, Thing
from prefork.cli.view.units import (
    format_age,
    format_bytes,
    format_count,
    format_duration,
    format_percent,
    format_rate,
)

STYLES = {
    "running": "green",
    "ready": "green",
    "reloading": "cyan",
    "starting": "cyan",
    "spawning": "cyan",
    "booting": "cyan",
    "frozen": "yellow",
    "stopping": "yellow",
    "draining": "yellow",
    "hung": "red",
    "killed": "red",
    "denied": "red",
    "dead": "red",
    "stopped": "dim",
}
"""Of states."""


def _state(thing: Thing) -> Text:
    state = str(thing.get("state", "?"))
    return Text(state, STYLES.get(state, ""))


def _plain(name: str, show: Callable[[Any], str] = str) -> Callable[[Thing], str]:
    """The value of this name; a dash when it is not known."""
    return lambda thing: "-" if thing.get(name) in (None, "") else show(thing[name])


def _figure(name: str, show: Callable[[Any], str]) -> Callable[[Thing], str]:
    """Of all workers of an app, or of the worker itself; a dash for those that never had a request:
    perhaps nobody counts them, as in a program."""

    def cell(thing: Thing) -> str:
        figures = thing.get("figures", {}) if "slot" not in thing else thing
        began = figures.get("requests") or figures.get("in_flight")
        return show(figures[name]) if began else "-"

    return cell


def _workers(app: Thing) -> str:
    return f"{app['ready']}/{app['target']}" if "ready" in app else "-"


def _restarts(thing: Thing) -> Text:
    restarts = thing.get("restarts")
    return Text(format_count(restarts), "yellow" if restarts else "")


APP_COLUMNS = (
    Column("name", 1, _plain("name"), right=False),
    Column("namespace", 9, _plain("namespace"), right=False, optional=True),
    Column("state", 1, _state, right=False),
    Column("workers", 2, _workers),
    Column("req/s", 3, _figure("rate", format_rate)),
    Column("in flight", 7, _figure("in_flight", format_count)),
    Column("p50", 8, _figure("p50", format_duration)),
    Column("p99", 4, _figure("p99", format_duration)),
    Column("CPU %", 5, _plain("cpu", format_percent)),
    Column("memory", 6, _plain("memory", format_bytes)),
    Column("uptime", 10, lambda app: format_age(app.get("started") if is_running(app) else None)),
    Column("restarts", 11, _restarts),
    Column("gen", 12, _plain("generation")),
    Column("pid", 13, lambda app: str(app.get("pid") or "-") if is_running(app) else "-"),
    Column("listening", 14, lambda app: ", ".join(app.get("listening", ())) or "-", right=False),
)

WORKER_COLUMNS = (
    Column("slot", 1, _plain("slot")),
    Column("state", 1, _state, right=False),
    Column("req/s", 2, _figure("rate", format_rate)),
    Column("in flight", 6, _figure("in_flight", format_count)),
    Column("p50", 7, _figure("p50", format_duration)),
    Column("p99", 3, _figure("p99", format_duration)),
    Column("CPU %", 4, _plain("cpu", format_percent)),
    Column("memory", 5, _plain("memory", format_bytes)),
    Column("oldest", 8, _figure("oldest", format_duration)),
    Column("requests", 9, _figure("requests", format_count)),
    Column("open", 12, _plain("connections", format_count)),
    Column("uptime", 10, _plain("since", format_age)),
    Column("restarts", 13, _restarts),
    Column("pid", 11, _plain("pid")),
    Column("gen", 14, _plain("generation")),
    Column("says", 15, _plain("says"), right=False, optional=True),
)
