"""The columns of ``list``, ``show`` and ``monit``: those of an app and those of a worker.

The cells are made from the descriptions of ``Client.apps``, with the usage that
cli/registry/process_usage.py adds. The columns of the values that workers measure follow from the
declarations of these values (wire/fields.py).

Design
------
- **A value of the table of apps stands before CPU and memory in both tables,** and a value of the
  table of workers alone behind them, so that columns of the same name are found at the same place.
"""

from collections.abc import Callable, Iterator
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
from prefork.wire.fields import VALUES, TableColumn

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
    "failing": "red",
    "failed": "red",
    "hung": "red",
    "killed": "red",
    "denied": "red",
    "dead": "red",
    "stopped": "dim",
}
"""Styles of rich, by state."""

FORMATS: dict[str, Callable[[Any], str]] = {
    "": format_count,
    "s": format_duration,
    "1/s": format_rate,
    "bytes": format_bytes,
}
"""How values are formatted, by their unit."""


def _state_cell(item: Item) -> Text:
    state = str(item.get("state", "?"))
    return Text(state, STATE_STYLES.get(state, ""))


def _value_cell(name: str, show: Callable[[Any], str] = str) -> Callable[[Item], str]:
    """Return a function that formats the value with this key; a dash when it is not known."""
    return lambda item: "-" if item.get(name) in (None, "") else show(item[name])


def _figure_cell(name: str, show: Callable[[Any], str]) -> Callable[[Item], str]:
    """Return a function that formats a figure of a worker, or of all workers of an app.

    The cell is a dash where there was no request: a program, for example, has no figures. It is a
    dash as well where a master of an older version does not know the figure.
    """

    def cell(item: Item) -> str:
        figures = item.get("figures", {}) if "slot" not in item else item
        requests = figures.get("requests") or figures.get("in_flight")
        return show(figures.get(name)) if requests else "-"

    return cell


def _workers_cell(app: Item) -> str:
    return f"{app['ready']}/{app['target']}" if "ready" in app else "-"


def _restarts_cell(item: Item) -> Text:
    restarts = item.get("restarts")
    return Text(format_count(restarts), "yellow" if restarts else "")


def _value_columns(priority_of: Callable[[TableColumn], int | None]) -> Iterator[Column]:
    """Yield the columns of values that have a priority."""
    for value in VALUES:
        declared = value.column
        priority = priority_of(declared) if declared is not None else None
        if declared is not None and priority is not None:
            make_cell = _figure_cell if declared.needs_requests else _value_cell
            yield Column(declared.title, priority, make_cell(value.key, FORMATS[value.unit]))


APP_COLUMNS = (
    Column("name", 1, _value_cell("name"), align_right=False),
    Column("namespace", 9, _value_cell("namespace"), align_right=False, optional=True),
    Column("state", 1, _state_cell, align_right=False),
    Column("workers", 2, _workers_cell),
    *_value_columns(lambda declared: declared.apps),
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
    *_value_columns(lambda declared: declared.workers if declared.apps else None),
    Column("CPU %", 4, _value_cell("cpu", format_percent)),
    Column("memory", 5, _value_cell("memory", format_bytes)),
    *_value_columns(lambda declared: None if declared.apps else declared.workers),
    Column("uptime", 10, _value_cell("since", format_age)),
    Column("restarts", 13, _restarts_cell),
    Column("pid", 11, _value_cell("pid")),
    Column("gen", 14, _value_cell("generation")),
    Column("says", 15, _value_cell("says"), align_right=False, optional=True),
)
