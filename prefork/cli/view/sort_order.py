"""The order of ``prefork list``: the keys that apps can be sorted by."""

from collections.abc import Callable, Iterable
from typing import Any

from prefork.cli.registry.app_state import App, is_running
from prefork.wire.fields import VALUES


def _started_at(app: App) -> float | None:
    """Return when the master started; None: the app does not run."""
    return app.get("started") if is_running(app) else None


def _figure_key(name: str) -> "Key":
    """Return a sort key for a figure; None: the app had no requests, or they are not counted."""
    return lambda app: app.get("figures", {}).get(name) or None


Key = Callable[[App], Any]

SORT_KEYS: dict[str, tuple[Key, bool]] = {
    "name": (lambda app: app["name"], False),
    "namespace": (lambda app: app.get("namespace") or None, False),
    "state": (lambda app: str(app.get("state")), False),
    "pid": (lambda app: app.get("pid") if is_running(app) else None, False),
    "workers": (lambda app: app.get("ready"), True),
    "gen": (lambda app: app.get("generation"), True),
    "restarts": (lambda app: app.get("restarts"), True),
    "uptime": (lambda app: -started if (started := _started_at(app)) else None, True),
    **{
        value.key: (_figure_key(value.key), True)
        for value in VALUES
        if value.column is not None and value.column.is_sort_key
    },
    "cpu": (lambda app: app.get("cpu"), True),
    "memory": (lambda app: app.get("memory"), True),
}
"""By name: the function that makes the sort key, and whether the largest comes first.

Apps without a value come last.
"""


def sort_apps(apps: Iterable[App], sort: str) -> list[App]:
    """Return the apps sorted by a key of SORT_KEYS; apps with equal values by name."""
    key, reverse = SORT_KEYS[sort]
    by_name = sorted(apps, key=lambda app: str(app["name"]))
    known = [app for app in by_name if key(app) is not None]
    known.sort(key=key, reverse=reverse)
    return known + [app for app in by_name if key(app) is None]
