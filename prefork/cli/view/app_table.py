"""``prefork list``: a row for each app, in the order that was asked for, once or live.

Live on a terminal the table is drawn again in its place, until q or Ctrl-C. Without one it is
printed again and again, with ``--json`` a line each time, until whoever reads has enough.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from rich.console import Group
from rich.live import Live
from rich.text import Text

from prefork.cli.output.output_streams import print_json
from prefork.cli.registry.app_state import App
from prefork.cli.registry.client import Client
from prefork.cli.registry.process_usage import CPU_SAMPLE_SECONDS
from prefork.cli.view.app_columns import APP_COLUMNS
from prefork.cli.view.columns import build_table
from prefork.cli.view.details import app_warnings, stdout_console
from prefork.cli.view.keys import QUIT, cbreak_mode, read_key
from prefork.cli.view.sort_order import sort_apps

SHORTEST = 0.1
"""Seconds between two looks at least."""


def print_app_list(client: Client, words: argparse.Namespace) -> int:
    """Once, or again and again with ``--watch``."""
    if words.watch is None:
        apps = sort_apps(client.measured(), words.sort)
        if words.json:
            print_json(apps)
        else:
            out = stdout_console()
            out.print(render_app_list(apps, out.width))
        return 0
    from prefork.cli.registry.snapshot import AppSampler  # noqa: PLC0415 - a single look needs none of it

    seen = AppSampler(client)

    def look() -> list[App]:
        return sort_apps(seen.sample_apps(), words.sort)

    look()
    time.sleep(CPU_SAMPLE_SECONDS)  # there has to be something to compare the first picture with
    period = max(words.watch, SHORTEST)
    try:
        if sys.stdin.isatty() and sys.stdout.isatty() and not words.json:
            _live(look, period)
        else:
            _endless(look, period, words.json)
    except KeyboardInterrupt:
        pass
    return 0


def _live(look: Callable[[], list[App]], period: float) -> None:
    out = stdout_console()
    with cbreak_mode(), Live(console=out, auto_refresh=False) as live:
        while True:
            hint = Text(f"every {period:g} s; q quits", "dim")
            live.update(Group(render_app_list(look(), out.width), hint), refresh=True)
            due = time.monotonic() + period
            while (patience := due - time.monotonic()) > 0:
                if read_key(patience) in QUIT:
                    return


def _endless(look: Callable[[], list[App]], period: float, as_json: bool) -> None:
    out = stdout_console()
    while True:
        if as_json:
            print_json(look(), indent=None)
        else:
            out.print(render_app_list(look(), out.width))
            sys.stdout.flush()
        time.sleep(period)


def render_app_list(apps: Sequence[App], width: int) -> Group:
    """The table, as far as it fits, and what there is to say below it."""
    if not apps:
        return Group("no apps; start one with `prefork start myapp:main`")
    return Group(build_table(APP_COLUMNS, apps, width), *app_warnings(apps))
