"""Start one app in the background, with a place in the list, and report the outcome."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prefork.cli.output.standard_output import OutputError, print_error
from prefork.cli.registry.app_state import is_running
from prefork.cli.registry.client import Client, NotRunningError
from prefork.cli.serve.settings_loader import SettingsLoader, start_folder
from prefork.cli.verbs.master_start import MasterStart, complete_environment
from prefork.cli.verbs.module_check import require_module
from prefork.cli.verbs.restart_check import NextStart
from prefork.config.kept_environment import keep_environment
from prefork.config.target import resolve_name
from prefork.errors import MachineError, PreforkError, UsageError
from prefork.pool.policy import ManualTarget
from prefork.unix.home import AppFolder, check_app_name, claim_folder, make_app_name, remove_app
from prefork.unix.listener_handover import NOTHING_INHERITED, InheritedState
from prefork.unix.listeners import Listener
from prefork.unix.process import signal_name
from prefork.unix.registry_entry import RegistryEntry
from prefork.wire.control import RefusedError
from prefork.wire.verb_table import WAIT


@dataclass(frozen=True, slots=True)
class WaitOptions:
    """Says for how long a start is waited for, if at all. ``timeout``: seconds; None: no limit."""

    wait: bool = True
    timeout: float | None = None


def start_new(
    client: Client, arguments: Sequence[str], wait_options: WaitOptions = WaitOptions()
) -> RegistryEntry:
    """Start an app as ``prefork ARGUMENTS`` would serve it.

    Raises PreforkError, StartFailedError.
    """
    settings = SettingsLoader(arguments, os.environ)
    config = settings.read_checked().config
    for note in settings.notes:
        print_error(note)
    if config.app:
        require_module(config, start_folder(), client.home)
    name = config.name or make_app_name(resolve_name(config))
    folder = _claim_name(client, client.home / check_app_name(name))
    own_flags = ["--daemon", "--managed", "--name", name]
    # In front of the others, because everything after -- belongs to a program.
    return launch(
        client, folder, start_folder(), [*own_flags, *settings.arguments], wait_options, is_new=True
    )


def start_again(
    client: Client,
    entry: RegistryEntry,
    wait_options: WaitOptions = WaitOptions(),
    listeners: Sequence[Listener] = (),
    update_env: bool = False,
) -> RegistryEntry:
    """Start an app of the list that does not run, as it was started before.

    It gets the number of workers that ``scale`` set, and the environment that it keeps.
    ``listeners``: the sockets that its last master had, if they are still open. ``update_env``: it
    gets the environment of this command instead. Raises PreforkError.
    """
    entry.require_manageable()
    entry.require_readable()
    arguments, start_dir = _read_origin(entry)
    environment = None if update_env else entry.read_environment()
    folder = _claim_name(client, entry.path)
    inherited = InheritedState(listeners, ManualTarget.parse(entry.state.get("scaled")))
    return launch(
        client,
        folder,
        start_dir,
        arguments,
        wait_options,
        inherited=inherited,
        environment=environment,
    )


def prepare_next_start(entry: RegistryEntry, update_env: bool) -> NextStart:
    """Return how ``start_again`` would start the app, which still runs. Raises PreforkError."""
    arguments, start_dir = _read_origin(entry)
    kept = None if update_env else entry.read_environment()
    kept = keep_environment(os.environ if kept is None else kept)
    return NextStart(arguments, start_dir, complete_environment(kept, start_dir, entry.path.parent))


def _read_origin(entry: RegistryEntry) -> tuple[list[str], str]:
    """Return the command line and the working directory of an app. Raises UsageError."""
    arguments, start_dir = entry.state.get("arguments"), entry.state.get("here")
    if not isinstance(arguments, list) or not isinstance(start_dir, str):
        raise UsageError(f"{entry.name}: how it was started is not known; start it by its target")
    return [str(argument) for argument in arguments], start_dir


def _claim_name(client: Client, path: Path) -> AppFolder:
    """Claim the app's folder. Raises UsageError when the app runs or is about to stop.

    A folder of another user is refused, so root does not start what another user's home says.
    """
    home, name = path.parent, path.name
    try:
        return claim_folder(home, name, exact=True)
    except UsageError:
        state = client.describe(RegistryEntry(path)).get("state")
        if state == "stopping":
            raise UsageError(f"{name} is stopping; start it when that is over") from None
        if state in ("stopped", "failed", "dead"):  # the master ended meanwhile
            return claim_folder(home, name, exact=True)
        raise


class StartFailedError(PreforkError):
    """An app did not start. Its own master has printed the reason already."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name}: not started")
        self.exit_code = code


def launch(
    client: Client,
    folder: AppFolder,
    start_dir: str,
    arguments: Sequence[str],
    wait_options: WaitOptions,
    is_new: bool = False,
    inherited: InheritedState = NOTHING_INHERITED,
    environment: Mapping[str, str] | None = None,
) -> RegistryEntry:
    """Start a master in ``start_dir`` and wait until all its workers serve; return the app's entry.

    ``folder``: the claimed folder of the app; ``is_new``: remove it when the start fails so early
    that there is nothing to remember; ``inherited``: what the last master left; ``environment``:
    what the app keeps, None: that of this command. Raises PreforkError, StartFailedError.
    """
    kept = keep_environment(os.environ if environment is None else environment)
    folder.write_environment(kept)
    is_waited_for = wait_options.wait
    start = MasterStart(folder, start_dir, tuple(arguments), kept, is_waited_for, inherited)
    # Buffered output would be written by the child once more. An error is reported at the end.
    with suppress(OutputError):
        sys.stdout.flush()
    # A fork, because the process that becomes the master does not return to this command.
    child = os.fork()
    if child == 0:
        # os._exit, because the exit handlers and buffers are those of the command.
        os._exit(start.run())
    folder.close_copy()
    for listener in inherited.listeners:
        listener.socket.close()
    if not wait_options.wait:
        print(f"{folder.name}: starting")
        return RegistryEntry(folder.path)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 0:
        # A start that was told to stop, or that has a mistake in its words, needs no memory.
        is_remembered = code != UsageError.exit_code and bool(RegistryEntry(folder.path).state)
        if is_new and not is_remembered:
            remove_app(folder.path)
        if code < 0:
            raise MachineError(f"{folder.name}: not started: {signal_name(-code)} ended the start")
        if is_remembered:
            print_error(_describe_failed_start(folder.name))
        raise StartFailedError(folder.name, code)
    entry = RegistryEntry(folder.path)
    print(f"{folder.name}: {_describe_start(client, entry, wait_options)}", flush=True)
    return entry


def _describe_failed_start(name: str) -> str:
    """Return where the reason can be read later."""
    return (
        f"{name}: not started; `prefork why {name}` and `prefork logs {name}` tell it again, and "
        f"`prefork delete {name}` removes it from the list"
    )


def _describe_start(client: Client, entry: RegistryEntry, wait_options: WaitOptions) -> str:
    """Return the outcome of a start whose workers were ready once, as a text.

    Raises PreforkError.
    """
    try:
        answer = client.ask(entry, WAIT, wait_options.timeout)
    except NotRunningError:
        return _describe_end(RegistryEntry(entry.path))
    except RefusedError as error:
        raise RefusedError(f"{entry.name}: {error}", error.exit_code) from None
    if "ended" in answer:
        return str(answer["ended"])
    app = client.describe(entry)
    if not is_running(app):
        return _describe_end(RegistryEntry(entry.path))
    where = ", ".join(app.get("listening", []))
    return f"{app.get('status')}{', listening on ' if where else ''}{where}"


def _describe_end(entry: RegistryEntry) -> str:
    """Return the outcome of a start whose master has ended since, as a text.

    Raises PreforkError, unless the app ended because its work was done.
    """
    status, code = entry.state.get("status"), entry.state.get("exit_code")
    if entry.state.get("done"):
        return str(status)
    if entry.is_running():
        status, code = "another master runs now", None
    message = f"it was ready, and does not run any more: {status or 'it was deleted'}"
    raise RefusedError(f"{entry.name}: {message}", code or UsageError.exit_code)
