"""The details of apps, for people."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

STYLES = {
    "running": "green",
    "reloading": "cyan",
    "starting": "cyan",
    "frozen": "yellow",
    "stopping": "yellow",
    "hung": "red",
    "denied": "red",
    "dead": "red",
    "stopped": "dim",
}


def show_app(app: Mapping[str, Any]) -> None:
    """Everything about one app."""
    console = Console(highlight=False)
    head = Table(box=None, show_header=False, pad_edge=False)
    head.add_column(style="dim")
    for name in (
        "name",
        "namespace",
        "app",
        "state",
        "status",
        "denied",
        "pid",
        "version",
        "here",
        "file",
        "section",
        "log",
    ):
        if app.get(name):
            head.add_row(name, str(app[name]))
    head.add_row("listening", ", ".join(app.get("listening", [])) or "-")
    head.add_row("uptime", since(app.get("started") if app.get("answers") else None))
    if planned := app.get("next_restart"):
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(planned["at"]))
        head.add_row("next restart", f"{at} (--cron {planned['cron']})")
    if scaling := app.get("autoscale"):
        head.add_row("autoscale", autoscale(scaling))
    for key, value in app.get("settings", {}).items():
        head.add_row(f"--{key}", str(value))
    console.print(head)
    if app.get("workers"):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("slot", "pid", "gen", "state", "uptime", "requests", "in flight", "open"):
            table.add_column(column, justify="right" if column != "state" else "left")
        for worker in app["workers"]:
            table.add_row(
                str(worker["slot"]),
                str(worker["pid"]),
                str(worker["generation"]),
                Text(worker["state"], STYLES.get(worker["state"], "")),
                since(worker["since"]),
                str(worker["requests"]),
                str(worker["in_flight"]),
                str(worker["connections"]),
            )
        console.print(table)
    if app.get("failure"):
        console.print(Text(f"the last reload failed: {app['failure']}", "red"))


def autoscale(told: Mapping[str, Any]) -> str:
    """Its limits, its last step with the evidence, and what keeps it from the next one."""
    text = f"{told['min']} to {told['max']} workers"
    if last := told["last"]:
        step = f"{last['before']} -> {last['workers']}"
        text += f"; {step} {since(last['at'])} ago: {last['why']}"
    return text + (f"; now {told['veto']}" if told["veto"] else "")


def show_deaths(deaths: Sequence[Mapping[str, Any]]) -> None:
    """The last deaths, the youngest last."""
    console = Console(highlight=False)
    if not deaths:
        console.print("no worker has died")
    for death in deaths:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(death["at"]))
        who = f"worker {death['slot']} (pid {death['pid']}, gen {death['generation']})"
        killed = ", killed" if death["killed"] else ""
        why = f": {death['why']}" if death.get("why") else ""
        text = f"{at} {who}: {death['cause']}{why} ({death['detail']}{killed})"
        console.print(text, markup=False)
        if death["reason"]:
            console.print(death["reason"], markup=False)


def since(moment: float | None) -> str:
    """How long ago, in two units at the most."""
    if moment is None:
        return "-"
    seconds = int(max(0.0, time.time() - moment))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {seconds % 60}s" if minutes else f"{seconds}s"


def size(amount: int) -> str:
    """Bytes as people write them."""
    return f"{amount / 2**20:.1f}m" if amount < 2**30 else f"{amount / 2**30:.2f}g"
