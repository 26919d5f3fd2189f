"""``prefork list``: a row for each app, in the order that was asked for, once or live.

Live on a terminal, the table is drawn again in its place until q or Ctrl-C. Without a terminal it
is printed again and again, with ``--json`` in one line each time, until the reader closes the pipe.
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

MIN_PERIOD = 0.1
"""Seconds between two samples, at least."""


def print_app_list(client: Client, options: argparse.Namespace) -> int:
    """Print the list, once or repeatedly with ``--watch``; return the exit code."""
    if options.watch is None:
        apps = sort_apps(client.measured(), options.sort)
        if options.json:
            print_json(apps)
        else:
            out = stdout_console()
            out.print(render_app_list(apps, out.width))
        return 0
    from prefork.cli.registry.snapshot import AppSampler  # noqa: PLC0415 - only --watch needs it

    sampler = AppSampler(client)

    def sample() -> list[App]:
        return sort_apps(sampler.sample_apps(), options.sort)

    sample()  # remembered, to compare with the next one
    time.sleep(CPU_SAMPLE_SECONDS)  # CPU is the difference of two samples
    period = max(options.watch, MIN_PERIOD)
    try:
        if sys.stdin.isatty() and sys.stdout.isatty() and not options.json:
            _redraw_until_quit(sample, period)
        else:
            _print_repeatedly(sample, period, options.json)
    except KeyboardInterrupt:
        pass
    return 0


def _redraw_until_quit(sample: Callable[[], list[App]], period: float) -> None:
    out = stdout_console()
    with cbreak_mode(), Live(console=out, auto_refresh=False) as live:
        while True:
            hint = Text(f"every {period:g} s; q quits", "dim")
            live.update(Group(render_app_list(sample(), out.width), hint), refresh=True)
            due = time.monotonic() + period
            while (timeout := due - time.monotonic()) > 0:
                if read_key(timeout) in QUIT:
                    return


def _print_repeatedly(sample: Callable[[], list[App]], period: float, as_json: bool) -> None:
    out = stdout_console()
    while True:
        if as_json:
            print_json(sample(), indent=None)
        else:
            out.print(render_app_list(sample(), out.width))
            sys.stdout.flush()
        time.sleep(period)


def render_app_list(apps: Sequence[App], width: int) -> Group:
    """Return the table with the columns that fit ``width`` cells, and the warnings below it."""
    if not apps:
        return Group("no apps; start one with `prefork start myapp:main`")
    return Group(build_table(APP_COLUMNS, apps, width), *app_warnings(apps))
