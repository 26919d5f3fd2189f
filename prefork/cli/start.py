"""``prefork start``: put an app into the list and into the background, and say how it went."""

import os
import sys
from collections.abc import Sequence

from prefork.cli.client import Client
from prefork.cli.command import serve
from prefork.cli.settings import Settings
from prefork.config.target import default_name, require_target
from prefork.errors import PreforkError, UsageError
from prefork.unix.home import Entry, Folder, check_name, claim, erase, usable_name


def start_new(client: Client, arguments: Sequence[str]) -> int:
    """An app as ``prefork ARGUMENTS`` would serve it; the exit code. Raises PreforkError."""
    config = Settings(arguments, os.environ).read().config
    require_target(config)
    name = config.name or usable_name(default_name(config))
    folder = claim(client.home, check_name(name), exact=True)
    given = ["--daemon", "--name", name]
    if not config.log_file:
        given += ["--log-file", str(folder.path / "log")]
    # In front, because after -- all belongs to the program.
    code = _start(client, folder, [*given, *arguments])
    if code:
        erase(folder.path)
    return code


def start_again(client: Client, entry: Entry) -> int:
    """One of the list that does not run, as it was started before. Raises PreforkError."""
    arguments, here = entry.state.get("arguments"), entry.state.get("here")
    if not isinstance(arguments, list) or not isinstance(here, str):
        raise UsageError(f"{entry.name}: nothing tells how it was started; start it by its target")
    folder = claim(client.home, entry.name, exact=True)
    try:
        os.chdir(here)
    except OSError as error:
        raise UsageError(f"{entry.name}: cannot go to {here}: {error.strerror}") from error
    os.environ["PWD"] = here
    return _start(client, folder, [str(argument) for argument in arguments])


def _start(client: Client, folder: Folder, arguments: Sequence[str]) -> int:
    """In a child, because whoever goes to the background does not come back."""
    child = os.fork()
    if child == 0:
        os._exit(_serve(folder, arguments))
    folder.close_copy()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 0:
        entry = Entry(folder.path)
        client.ask(entry, "wait")
        app = client.describe(entry)
        where = ", ".join(app.get("listening", []))
        listening = f", listening on {where}" if where else ""
        print(f"{folder.name}: {app.get('status')}{listening}")
    return code if code >= 0 else PreforkError.exit_code


def _serve(folder: Folder, arguments: Sequence[str]) -> int:
    try:
        settings = Settings(arguments, os.environ)
        return serve(settings, settings.read().config, folder)
    except PreforkError as error:
        print(f"prefork: {error}", file=sys.stderr)
        return error.exit_code
