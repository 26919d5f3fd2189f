"""``prefork list``: a row for each app, in the order that was asked for, once or live.

Live on a terminal the table is drawn again in its place, until q or Ctrl-C. Without one it is
printed again and again, with ``--json`` a line each time, until whoever reads has enough.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence

import psutil
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from prefork.cli.client import Client
from prefork.cli.gauges import Gauges
from prefork.cli.keys import QUIT, key_within, keys_at_once
from prefork.cli.sorting import App, Row, in_order
from prefork.cli.tables import STYLES, since, size

SHORTEST = 0.1
"""Seconds between two looks at least."""


def show_list(client: Client, words: argparse.Namespace) -> int:
    """Once, or again and again with ``--watch``."""
    look = _Look(client, words.sort)
    if words.watch is None:
        if words.json:
            print(json.dumps([row.app for row in look.rows()], indent=1))
        else:
            Console(width=None if sys.stdout.isatty() else 160).print(look.drawn())
        return 0
    period = max(words.watch, SHORTEST)
    try:
        if sys.stdin.isatty() and sys.stdout.isatty() and not words.json:
            _live(look, period)
        else:
            _endless(look, period, words.json)
    except KeyboardInterrupt:
        pass
    return 0


def _live(look: "_Look", period: float) -> None:
    console = Console()
    with keys_at_once(), Live(console=console, auto_refresh=False) as live:
        while True:
            hint = Text(f"every {period:g} s; q quits", "dim")
            live.update(Group(look.drawn(), hint), refresh=True)
            due = time.monotonic() + period
            while (patience := due - time.monotonic()) > 0:
                if key_within(patience) in QUIT:
                    return


def _endless(look: "_Look", period: float, as_json: bool) -> None:
    console = Console(width=160)
    while True:
        if as_json:
            print(json.dumps([row.app for row in look.rows()]), flush=True)
        else:
            console.print(look.drawn())
            sys.stdout.flush()
        time.sleep(period)


class _Look:
    """What there is to see. From the second look on CPU is that since the one before."""

    def __init__(self, client: Client, sort: str) -> None:
        self._client = client
        self._sort = sort
        self._gauges: Gauges | None = None

    def rows(self) -> list[Row]:
        """All apps, in order."""
        rows = [self._measured(app) for app in self._client.apps()]
        if self._gauges is None:
            self._gauges = Gauges()
            for row in rows:
                self._gauges.read(row.app)
        return in_order(rows, self._sort)

    def _measured(self, app: App) -> Row:
        if not app.get("answers"):
            return Row(app)
        if self._gauges is None:
            return Row(app, *usage(app))
        read = self._gauges.read(app)
        return Row(app, read.cpu, read.memory or None)

    def drawn(self) -> Group:
        """The table, and what there is to say below it."""
        rows = self.rows()
        if not rows:
            return Group("no apps; start one with `prefork start myapp:main`")
        return Group(_table(rows), *_remarks(rows))


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    spaces = any(row.app.get("namespace") for row in rows)
    for column in (
        "name",
        *(["namespace"] if spaces else []),
        "state",
        "workers",
        "gen",
        "listening",
        "pid",
        "uptime",
        "restarts",
    ):
        table.add_column(column, no_wrap=column != "listening")
    for column in ("CPU %", "memory"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        app = row.app
        table.add_row(
            str(app["name"]),
            *([str(app.get("namespace") or "-")] if spaces else []),
            Text(row.state, STYLES.get(row.state, "")),
            f"{app['ready']}/{app['target']}" if app.get("answers") else "-",
            str(app.get("generation", "-")),
            ", ".join(app.get("listening", [])) or "-",
            str(app.get("pid") or "-") if row.alive else "-",
            since(row.started),
            str(app.get("restarts", "-")),
            "-" if row.cpu is None else f"{row.cpu:.0f}",
            "-" if row.memory is None else size(row.memory),
        )
    return table


def _remarks(rows: Sequence[Row]) -> list[Text]:
    found = []
    for row in rows:
        if row.state == "hung":
            found.append(f"{row.app['name']} does not answer; `prefork stop --force` ends it")
        elif row.state == "denied":
            found.append(f"{row.app['name']}: {row.app['denied']}")
        elif row.app.get("failure"):
            found.append(f"{row.app['name']}: the last reload failed; see `prefork show`")
    return [Text(text) for text in found]


def usage(app: App) -> tuple[float, int | None]:
    """CPU since birth as a percentage of one core, and memory (PSS), of master and workers; None:
    they are not ours to look at."""
    cpu, memory = 0.0, 0
    for pid in [app["pid"], *(worker["pid"] for worker in app["workers"])]:
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            age = max(time.time() - process.create_time(), 0.1)
            cpu += 100 * (times.user + times.system) / age
            memory += process.memory_full_info().pss
        except psutil.Error:
            continue  # it ended meanwhile, or is not ours to look at
    return cpu, memory or None
