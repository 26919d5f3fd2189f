"""The details of apps, for people."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from prefork.cli.output.output_streams import original
from prefork.cli.registry.client import alive
from prefork.cli.view.app_columns import STYLES, WORKERS
from prefork.cli.view.columns import table
from prefork.cli.view.console import PrintableConsole
from prefork.cli.view.units import count, percent, rate, since, size, took
from prefork.plural import counted

App = Mapping[str, Any]

PIPE = 10_000
"""Columns of a pipe: whoever reads there wants all of it, and each row in one line."""


def console() -> PrintableConsole:
    """Of our stdout."""
    out = original(sys.stdout)
    return PrintableConsole(file=out, width=None if out.isatty() else PIPE)


def remarks(apps: Sequence[App]) -> Iterator[Text]:
    """What somebody should know or do."""
    for app in apps:
        name = app["name"]
        if app.get("state") == "hung":
            known = "figures are from its scoreboard" if "figures" in app else "nothing is known"
            end = f"`prefork stop --force {name}` ends it"
            yield Text(f"{name}: its master does not answer; {known}; {end}", "red")
        elif app.get("state") == "denied":
            yield Text(f"{name}: {app['denied']}")
        elif app.get("failure"):
            yield Text(f"{name}: the last reload failed; see `prefork show {name}`", "red")


def show_app(app: App) -> None:
    """Everything about one app."""
    out = console()
    out.print(shown(app, out.width))


def shown(app: App, width: int) -> Group:
    """Its settings, its figures, its workers."""
    parts: list[RenderableType] = [_head(app)]
    if app.get("workers"):
        parts += ["", table(WORKERS, app["workers"], width)]
    parts += remarks([{**app, "failure": None}])
    if app.get("failure"):
        parts.append(Text(f"the last reload failed: {app['failure']}", "red"))
    return Group(*parts)


HEAD = (
    "name", "namespace", "app", "state", "status", "denied", "pid", "version", "here", "file",
    "section", "log", "output",
)  # fmt: skip


def _head(app: App) -> Table:
    head = Table(box=None, show_header=False, pad_edge=False)
    head.add_column(style="dim", no_wrap=True)
    head.add_column(overflow="fold")
    for name in HEAD:
        if app.get(name):
            text = str(app[name])
            head.add_row(name, Text(text, STYLES.get(text, "")) if name == "state" else text)
    head.add_row("listening", ", ".join(app.get("listening", ())) or "-")
    head.add_row("uptime", since(app.get("started") if alive(app) else None))
    if planned := app.get("next_restart"):
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(planned["at"]))
        head.add_row("next restart", f"{at} (--cron {planned['cron']})")
    if scaling := app.get("autoscale"):
        head.add_row("autoscale", autoscale(scaling))
    if "cpu" in app:
        head.add_row("uses", f"{percent(app['cpu'])} % of a core, memory {size(app['memory'])}")
    for key, text in _figures(app.get("figures", {})):
        head.add_row(key, text)
    for key, value in app.get("settings", {}).items():
        several = isinstance(value, list)
        head.add_row(f"--{key}", " ".join(map(str, value)) if several else str(value))
    return head


def _figures(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Of all its workers, since they began."""
    if not figures.get("accepted") and not figures.get("requests"):
        return  # nobody came, or nobody counts
    answered = ", ".join(f"{kind} {count(of)}" for kind, of in figures["answered"].items() if of)
    left = figures["unanswered"]
    yield "requests", f"{count(figures['requests'])}, {rate(figures['rate'])} a second"
    yield "answered", (answered or "-") + (f"; {count(left)} left before" if left else "")
    oldest = f", the oldest for {took(figures['oldest'])}" if figures["oldest"] else ""
    yield "in flight", f"{count(figures['in_flight'])}{oldest}"
    yield "they took", f"p50 {took(figures['p50'])}, p99 {took(figures['p99'])}"
    yield "sent", f"{size(figures['sent'])} in bodies"
    taken = counted(figures["accepted"], "connection", show=count)
    accepted = f"{taken}, {count(figures['connections'])} open"
    yield "accepted", f"{accepted}, after {took(figures['accept_wait'])} in the queue on average"
    yield "loop lag", took(figures["lag"])


def autoscale(told: Mapping[str, Any]) -> str:
    """Its limits, its last step with the evidence, and what keeps it from the next one."""
    text = f"{told['min']} to {counted(told['max'], 'worker')}"
    if last := told["last"]:
        step = f"{last['before']} -> {last['workers']}"
        text += f"; {step} {since(last['at'])} ago: {last['why']}"
    return text + (f"; now {told['veto']}" if told["veto"] else "")
