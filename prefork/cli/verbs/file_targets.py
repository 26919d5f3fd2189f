"""Files in the place of apps: ``prefork reload prefork.toml``, ``stop ecosystem.config.js``.

Design
------
- **A file means the apps that were started from it.** PM2 takes its files in the same way.
  ``reload`` and ``restart`` read a file of another manager again first, as PM2 does; a prefork.toml
  is read by the masters themselves.
"""

import os
from collections.abc import Sequence

from prefork.cli.registry.client import Client
from prefork.cli.serve.settings_loader import absolute_path
from prefork.errors import UsageError

ENDINGS = (".toml", ".json", ".yaml", ".yml", ".js", ".cjs", ".mjs", "Procfile", ".conf")


def names_of_targets(client: Client, targets: Sequence[str], verb: str) -> list[str]:
    """Return the targets of a verb with the names of apps in the place of files.

    Raises PreforkError.
    """
    names: list[str] = []
    for target in targets:
        is_file = target.endswith(ENDINGS) and os.path.isfile(target)
        names += _apps_of_file(client, target, verb) if is_file else [target]
    return names


def _apps_of_file(client: Client, file: str, verb: str) -> list[str]:
    # Only targets that are files need it.
    from prefork.cli.verbs.foreign_file import convert_to_home, converted_path  # noqa: PLC0415
    from prefork.cli.verbs.start_file import is_foreign_file  # noqa: PLC0415

    path = absolute_path(file)
    if is_foreign_file(file):
        is_read = verb in ("reload", "restart")
        path = convert_to_home(client, path) if is_read else str(converted_path(client, path))
    names = [entry.name for entry in client.find("all") if entry.state.get("file") == path]
    if not names:
        raise UsageError(
            f"no app in the list is from {file}; `prefork start {file}` starts its apps"
        )
    return names
