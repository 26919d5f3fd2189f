"""What ``list``, ``show`` and ``monit`` tell of each app and of each worker, column by column.

The cells are made of what ``Client.apps`` describes, as cli/registry/process_usage.py measured it.
"""

from collections.abc import Callable
from typing import Any

from rich.text import Text

from prefork.cli.registry.app_state import is_running
from prefork.cli.view.columns import Column, Item
from prefork.cli.view.units import (
    format_age,
    format_bytes,
    format_count,
    format_duration,
    format_percent,
    format_rate,
)

STATE_STYLES = {
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


def _state_cell(item: Item) -> Text:
    state = str(item.get("state", "?"))
    return Text(state, STATE_STYLES.get(state, ""))


def _value_cell(name: str, show: Callable[[Any], str] = str) -> Callable[[Item], str]:
    """The value of this name; a dash when it is not known."""
    return lambda item: "-" if item.get(name) in (None, "") else show(item[name])


def _figure_cell(name: str, show: Callable[[Any], str]) -> Callable[[Item], str]:
    """Of all workers of an app, or of the worker itself; a dash for those that never had a request:
    perhaps nobody counts them, as in a program."""

    def cell(item: Item) -> str:
        figures = item.get("figures", {}) if "slot" not in item else item
        requests = figures.get("requests") or figures.get("in_flight")
        return show(figures[name]) if requests else "-"

    return cell


def _workers_cell(app: Item) -> str:
    return f"{app['ready']}/{app['target']}" if "ready" in app else "-"


def _restarts_cell(item: Item) -> Text:
    restarts = item.get("restarts")
    return Text(format_count(restarts), "yellow" if restarts else "")


APP_COLUMNS = (
    Column("name", 1, _value_cell("name"), align_right=False),
    Column("namespace", 9, _value_cell("namespace"), align_right=False, optional=True),
    Column("state", 1, _state_cell, align_right=False),
    Column("workers", 2, _workers_cell),
    Column("req/s", 3, _figure_cell("rate", format_rate)),
    Column("in flight", 7, _figure_cell("in_flight", format_count)),
    Column("p50", 8, _figure_cell("p50", format_duration)),
    Column("p99", 4, _figure_cell("p99", format_duration)),
    Column("CPU %", 5, _value_cell("cpu", format_percent)),
    Column("memory", 6, _value_cell("memory", format_bytes)),
    Column("uptime", 10, lambda app: format_age(app.get("started") if is_running(app) else None)),
    Column("restarts", 11, _restarts_cell),
    Column("gen", 12, _value_cell("generation")),
    Column("pid", 13, lambda app: str(app.get("pid") or "-") if is_running(app) else "-"),
    Column(
        "listening", 14, lambda app: ", ".join(app.get("listening", ())) or "-", align_right=False
    ),
)

WORKER_COLUMNS = (
    Column("slot", 1, _value_cell("slot")),
    Column("state", 1, _state_cell, align_right=False),
    Column("req/s", 2, _figure_cell("rate", format_rate)),
    Column("in flight", 6, _figure_cell("in_flight", format_count)),
    Column("p50", 7, _figure_cell("p50", format_duration)),
    Column("p99", 3, _figure_cell("p99", format_duration)),
    Column("CPU %", 4, _value_cell("cpu", format_percent)),
    Column("memory", 5, _value_cell("memory", format_bytes)),
    Column("oldest", 8, _figure_cell("oldest", format_duration)),
    Column("requests", 9, _figure_cell("requests", format_count)),
    Column("open", 12, _value_cell("connections", format_count)),
    Column("uptime", 10, _value_cell("since", format_age)),
    Column("restarts", 13, _restarts_cell),
    Column("pid", 11, _value_cell("pid")),
    Column("gen", 14, _value_cell("generation")),
    Column("says", 15, _value_cell("says"), align_right=False, optional=True),
)
