"""``prefork show``: the details of one app, and the warnings that are printed below a list."""

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from prefork.cli.output.output_streams import original_stream
from prefork.cli.registry.app_state import App, is_running
from prefork.cli.view.app_columns import STATE_STYLES, WORKER_COLUMNS
from prefork.cli.view.columns import build_table
from prefork.cli.view.console import PrintableConsole
from prefork.cli.view.figure_lines import figure_lines
from prefork.cli.view.units import format_age, format_bytes, format_percent
from prefork.plural import pluralize

PIPE_WIDTH = 10_000
"""Width of a table in a pipe, in cells: its reader gets all columns, and each row in one line."""


def stdout_console() -> PrintableConsole:
    """Return a console that draws on stdout."""
    out = original_stream(sys.stdout)
    return PrintableConsole(file=out, width=None if out.isatty() else PIPE_WIDTH)


def app_warnings(apps: Sequence[App]) -> Iterator[Text]:
    """Yield a warning, with the command that helps, for each app that needs attention."""
    for app in apps:
        name = app["name"]
        if app.get("state") == "hung":
            note = "figures are from its scoreboard" if "figures" in app else "nothing is known"
            advice = f"`prefork stop --force {name}` ends it"
            yield Text(f"{name}: its master does not answer; {note}; {advice}", "red")
        elif app.get("state") == "denied":
            yield Text(f"{name}: {app.get('denied', '')}")
        elif app.get("state") == "failing":
            yield Text(f"{name}: its workers keep failing; see `prefork why {name}`", "red")
        elif app.get("state") == "failed":
            yield Text(f"{name}: it ended with a failure; see `prefork why {name}`", "red")
        elif app.get("failure"):
            yield Text(f"{name}: the last reload failed; see `prefork why {name}`", "red")
        if app.get("state") in ("running", "frozen") and app.get("target") == 0:
            advice = f"`prefork reload {name}` brings them back"
            yield Text(f"{name}: WINCH has drained all workers; {advice}", "yellow")


def print_app(app: App) -> None:
    """Print everything about one app."""
    out = stdout_console()
    out.print(render_app(app, out.width))


def render_app(app: App, width: int) -> Group:
    """Return the settings, the figures and the workers of an app, for ``width`` cells."""
    parts: list[RenderableType] = [_head(app)]
    if app.get("workers"):
        parts += ["", build_table(WORKER_COLUMNS, app["workers"], width)]
    parts += app_warnings([{**app, "failure": None}])
    if app.get("failure"):
        parts.append(Text(f"the last reload failed: {app['failure']}", "red"))
    return Group(*parts)


HEAD_KEYS = (
    "name", "namespace", "app", "state", "status", "denied", "pid", "version", "build", "here",
    "file", "section", "log", "output",
)  # fmt: skip


LEASE_TEXTS = {
    "unused": "none here: the app does not ask who leads",
    "waiting": "none here yet: the server of the store waits for the end of the last lease",
    "elsewhere": "of another master, by the lease on the server of the store",
    "unavailable": "none here: the server of the store does not answer",
}


def _head(app: App) -> Table:
    """Return the table of names and values at the top."""
    head = Table(box=None, show_header=False, pad_edge=False)
    head.add_column(style="dim", no_wrap=True)
    head.add_column(overflow="fold")
    for name in HEAD_KEYS:
        if app.get(name):
            text = str(app[name])
            head.add_row(name, Text(text, STATE_STYLES.get(text, "")) if name == "state" else text)
    head.add_row("listening", ", ".join(app.get("listening", ())) or "-")
    if shim := next((each["node"] for each in app.get("workers", ()) if each.get("node")), ""):
        head.add_row("node shim", shim)
    if leader := describe_leader(app):
        head.add_row("leader", leader)
    head.add_row("uptime", format_age(app.get("started") if is_running(app) else None))
    if planned := app.get("next_restart"):
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(planned["at"]))
        head.add_row("next restart", f"{at} (--cron {planned['cron']})")
    if scaling := app.get("autoscale"):
        head.add_row("autoscale", format_autoscale(scaling))
    if "cpu" in app:
        head.add_row(
            "uses",
            f"{format_percent(app['cpu'])} % of a core, memory {format_bytes(app['memory'])}",
        )
    for key, text in figure_lines(app.get("figures", {})):
        head.add_row(key, text)
    for flag, text in list_flags(app.get("settings", {})):
        head.add_row(flag, text)
    return head


def list_flags(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield settings as flags with their values, in the form in which a shell takes them.

    ``settings``: values by key, in the form of a settings file. The app has a row of its own.
    """
    for key, value in settings.items():
        match key, value:
            case "app", _:
                pass
            case "command", list(words):
                yield "--", shlex.join(map(str, words))
            case _, bool():
                yield (f"--{key}" if value else f"--no-{key}"), ""
            case _, dict():
                for name, text in value.items():
                    yield f"--{key}", shlex.quote(f"{name}={text}")
            case _, list():
                for each in value:
                    yield f"--{key}", shlex.quote(str(each))
            case _:
                yield f"--{key}", shlex.quote(str(value))


def describe_leader(app: App) -> str:
    """Return which worker leads, or why none here does; empty: there is nothing to say."""
    if leader := app.get("leader"):
        return f"worker {leader['slot']} (pid {leader['pid']}), token {leader['token']}"
    return LEASE_TEXTS.get(str(app.get("lease")), "")


def format_autoscale(scaling: Mapping[str, Any]) -> str:
    """Return a text on autoscaling: limits, the last step and why, what prevents the next."""
    text = f"{scaling['min']} to {pluralize(scaling['max'], 'worker')}"
    if last := scaling["last"]:
        step = f"{last['before']} -> {last['workers']}"
        text += f"; {step} {format_age(last['at'])} ago: {last['why']}"
    return text + (f"; now {scaling['veto']}" if scaling["veto"] else "")
