"""Verbs that change nothing: list, show, events, report; and the entries to logs and monit."""

import argparse
import os
from functools import partial
from typing import Any

from prefork import _speed
from prefork.cli.output.output_streams import print_json
from prefork.cli.registry.client import Client, NotRunningError
from prefork.cli.verbs.ask_masters import ask_and_print
from prefork.cli.view.answers import Answer, print_why
from prefork.cli.view.progress import for_each_app
from prefork.unix.cores import usable_cores
from prefork.unix.registry_entry import RegistryEntry
from prefork.version import __version__
from prefork.wire.death_file import decode_deaths
from prefork.wire.verb_table import STATE, WHY

Options = argparse.Namespace

REPORTED_PACKAGES = (
    "uvloop",
    "httptools",
    "setproctitle",
    "psutil",
    "toml",
    "rich",
    "cronsim",
    "watchfiles",
)
"""Packages whose versions ``prefork report`` prints."""


def list_apps(client: Client, options: Options) -> int:
    """Print a table of all apps, once or repeatedly (view/app_table.py). Return the exit code."""
    from prefork.cli.view.app_table import print_app_list  # noqa: PLC0415 - rich takes its time

    return print_app_list(client, options)


def show(client: Client, options: Options) -> int:
    """Print the description of each named app. Return the exit code."""
    # Only measuring usage needs it.
    from prefork.cli.registry.process_usage import measure_usage  # noqa: PLC0415

    for app in measure_usage([client.describe(entry) for entry in client.find(*options.targets)]):
        if options.json:
            print_json(app)
        else:
            from prefork.cli.view.details import print_app  # noqa: PLC0415 - rich takes its time

            print_app(app)
    return 0


def events(client: Client, options: Options) -> int:
    """Print the events of one app as lines of JSON, until its master ends. Return the exit code."""
    for entry in client.find(*options.targets)[:1]:
        for event in client.events(entry):
            print_json({"text": event.text, **event.details}, indent=None)
    return 0


def monit(client: Client, _options: Options) -> int:
    """Show the live view of all apps (monit.py). Return the exit code."""
    from prefork.cli.verbs.monit import monitor  # noqa: PLC0415 - rich takes its time

    return monitor(client)


def why(client: Client, options: Options) -> int:
    """Print the last deaths of workers of the named apps, also of those that do not run."""

    def action(entry: RegistryEntry) -> int:
        try:
            ask_and_print(client, WHY, entry, options)
        except NotRunningError:
            entry = RegistryEntry(entry.path)
            values: dict[str, Any] = {"deaths": decode_deaths(entry.read_deaths())}
            if client.describe(entry)["state"] == "failed":
                values["ended"] = str(entry.state.get("status", ""))
                values["ended_at"] = entry.state.get("ended")
            print_why(Answer(entry.name, values), options)
        return 0

    return for_each_app(client, options.targets, action)


def logs(client: Client, options: Options) -> int:
    """Print the log records of the named apps (logs.py). Return the exit code."""
    from prefork.cli.verbs.logs import print_logs  # noqa: PLC0415 - the other verbs need none of it

    apps = client.find(*(options.targets or ["all"]))
    for entry in apps:
        if not entry.is_manageable:
            # The folder of another user's app cannot be read; its master names the log files.
            entry.state = client.describe(entry)
    return print_logs(apps, options)


def report(client: Client, options: Options) -> int:
    """Print versions, machine and apps for a bug report, without secrets; or the state of masters.

    Return the exit code.
    """
    if options.state:
        return for_each_app(client, options.targets or ["all"], partial(_print_state, client))
    named = {entry.name for entry in client.find(*options.targets or ["all"])}
    _print_report([app for app in client.apps() if app["name"] in named])
    return 0


def _print_state(client: Client, entry: RegistryEntry) -> int:
    print_json(client.ask(entry, STATE, 5.0))
    return 0


def _print_report(apps: list[dict[str, Any]]) -> None:
    """Print versions and machine, and a few lines about each app."""
    import platform  # noqa: PLC0415 - the other verbs need none of these
    from importlib.metadata import PackageNotFoundError  # noqa: PLC0415
    from importlib.metadata import version as version_of  # noqa: PLC0415

    import psutil  # noqa: PLC0415

    build = f"prefork {__version__} ({_speed.BUILD})"
    print(f"{build}, Python {platform.python_version()}, {platform.platform()}")
    for package in REPORTED_PACKAGES:
        try:
            print(f"{package} {version_of(package)}")
        except PackageNotFoundError:
            print(f"{package} is not installed")
    memory = psutil.virtual_memory().total // 2**20
    print(f"cores {os.cpu_count()}, usable {usable_cores()}, memory {memory} MB")
    for app in apps:
        settings = ", ".join(sorted(app.get("settings", {})))
        print(f"app {app['name']}: {app.get('state')}, {app.get('status', '')}")
        build = f" ({app['build']})" if app.get("build") else ""
        print(f"  version {app.get('version')}{build}, settings changed: {settings or 'none'}")
        if app.get("failure"):
            print("  the last reload failed; see `prefork show`")
