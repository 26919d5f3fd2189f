"""The order of ``prefork list``: what apps can be sorted by."""

from collections.abc import Callable, Iterable
from typing import Any

from prefork.cli.registry.app_state import App, is_running


def _started_at(app: App) -> float | None:
    """None: it does not run."""
    return app.get("started") if is_running(app) else None


def _figure_key(name: str) -> "Key":
    """None: it had no requests, or nobody counts them."""
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
    "rate": (_figure_key("rate"), True),
    "p50": (_figure_key("p50"), True),
    "p99": (_figure_key("p99"), True),
    "cpu": (lambda app: app.get("cpu"), True),
    "memory": (lambda app: app.get("memory"), True),
}
"""By what a list is sorted, and whether the largest comes first. Who has no such value is last."""


def sort_apps(apps: Iterable[App], sort: str) -> list[App]:
    """By a key of SORTS; equal ones by name."""
    key, reverse = SORT_KEYS[sort]
    by_name = sorted(apps, key=lambda app: str(app["name"]))
    known = [app for app in by_name if key(app) is not None]
    known.sort(key=key, reverse=reverse)
    return known + [app for app in by_name if key(app) is None]
