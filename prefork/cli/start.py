"""``prefork start``: put an app into the list and into the background, and say how it went."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from prefork.cli.client import Client
from prefork.cli.settings import Settings, start_folder
from prefork.config.target import default_name, require_target
from prefork.errors import PreforkError, UsageError
from prefork.unix.home import Entry, Folder, check_name, claim, erase, usable_name
from prefork.unix.listeners import Listener


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long a start is waited for. ``timeout`` None: as long as it takes."""

    wait: bool = True
    timeout: float | None = None


def start_new(client: Client, arguments: Sequence[str], waiting: Waiting = Waiting()) -> Entry:
    """An app as ``prefork ARGUMENTS`` would serve it. Raises PreforkError, StartFailedError."""
    config = Settings(arguments, os.environ).read().config
    require_target(config)
    name = config.name or usable_name(default_name(config))
    folder = claim(client.home, check_name(name), exact=True)
    given = ["--daemon", "--managed", "--name", name]
    # In front, because after -- all belongs to a program.
    return launch(client, folder, start_folder(), [*given, *arguments], waiting, fresh=True)


def start_again(
    client: Client,
    entry: Entry,
    waiting: Waiting = Waiting(),
    taken_over: Sequence[Listener] = (),
) -> Entry:
    """One of the list that does not run, as it was started before. ``taken_over``: the listeners
    that it had then. Raises PreforkError."""
    entry.require_ours()
    arguments, here = entry.state.get("arguments"), entry.state.get("here")
    if not isinstance(arguments, list) or not isinstance(here, str):
        raise UsageError(f"{entry.name}: nothing tells how it was started; start it by its target")
    folder = claim(client.home, entry.name, exact=True)
    words = [str(argument) for argument in arguments]
    return launch(client, folder, here, words, waiting, taken_over=taken_over)


class StartFailedError(PreforkError):
    """An app did not start; why was told already, by its own master."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name}: not started")
        self.exit_code = code


def launch(
    client: Client,
    folder: Folder,
    here: str,
    arguments: Sequence[str],
    waiting: Waiting,
    fresh: bool = False,
    taken_over: Sequence[Listener] = (),
) -> Entry:
    """A master in ``here``, until all its workers serve. ``fresh``: an app that cannot start is not
    to be in the list.

    Raises PreforkError, StartFailedError.
    """
    child = os.fork()  # whoever goes to the background does not come back
    if child == 0:
        os._exit(_serve(folder, here, arguments, waiting, taken_over))
    folder.close_copy()
    for listener in taken_over:
        listener.socket.close()
    if not waiting.wait:
        print(f"{folder.name}: starting")
        return Entry(folder.path)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 0:
        if fresh:
            erase(folder.path)
        raise StartFailedError(folder.name, code if code > 0 else PreforkError.exit_code)
    entry = Entry(folder.path)
    client.ask(entry, "wait", waiting.timeout)
    app = client.describe(entry)
    where = ", ".join(app.get("listening", []))
    print(f"{folder.name}: {app.get('status')}{', listening on ' if where else ''}{where}")
    return entry


def _serve(
    folder: Folder,
    here: str,
    arguments: Sequence[str],
    waiting: Waiting,
    taken_over: Sequence[Listener],
) -> int:
    from prefork.cli.serving import serve  # noqa: PLC0415 - what only the child needs

    try:
        try:
            os.chdir(here)
        except OSError as error:
            raise UsageError(f"{folder.name}: cannot go to {here}: {error.strerror}") from error
        os.environ["PWD"] = here
        if not waiting.wait:
            _forget_terminal()
        settings = Settings(arguments, os.environ)
        return serve(settings, settings.read().config, folder, taken_over)
    except PreforkError as error:
        print(f"prefork: {error}", file=sys.stderr)
        return error.exit_code


def _forget_terminal() -> None:
    """Nobody waits for the outcome: it is in the list and in the log."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
