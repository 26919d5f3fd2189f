"""``prefork save`` and ``resurrect``: the list of running apps, kept as ``saved.toml`` in the home.

The file has how each app was started, its environment, and the number of workers that ``scale``
set.

Design
------
- **The environment and the values of** ``-e`` **are saved,** in a file that its owner alone can
  read. Without them an app that gets a password from the environment does not come back at boot.
  PM2 does the same. Rejected: to leave them out and name them; the app would start without them.
"""

import argparse

from prefork.cli.output.standard_output import print_error
from prefork.cli.registry.client import Client
from prefork.cli.registry.saved_apps import SavedApp, dump, load
from prefork.cli.serve.settings_loader import LARGEST_FILE
from prefork.cli.verbs.launch import StartFailedError, WaitOptions, launch
from prefork.errors import MachineError, PreforkError, UsageError
from prefork.plural import pluralize
from prefork.pool.policy import ManualTarget
from prefork.unix.directory import Directory
from prefork.unix.home import check_app_name, claim_folder, list_entries, replace_file
from prefork.unix.listener_handover import InheritedState
from prefork.unix.registry_entry import RegistryEntry
from prefork.wire.versions import LaterVersionError

Options = argparse.Namespace
SAVED_FILE = "saved.toml"


def save(client: Client, _options: Options) -> int:
    """Save which apps run, and how each was started, in ``saved.toml``. Return the exit code."""
    known = list_entries(client.home)
    running = [client.latest(entry) for entry in known if entry.is_running()]
    running = [entry for entry in running if entry.state]  # without: it was deleted meanwhile
    # In the order of their start, so that resurrect starts an app after those that it came after.
    running.sort(key=lambda entry: float(entry.state.get("started", 0)))
    apps: dict[str, SavedApp] = {}
    for entry in running:
        if not entry.state.get("managed"):
            print(f"{entry.name}: runs in the foreground, not saved")
            continue
        entry.require_readable()
        arguments = tuple(str(word) for word in entry.state["arguments"])
        scaled, environment = entry.state.get("scaled"), entry.read_environment()
        apps[entry.name] = SavedApp(entry.state["here"], arguments, scaled, environment)
    path = client.home / SAVED_FILE
    try:
        Directory.open(client.home, make=0o700).close()
    except OSError as error:
        raise MachineError(f"cannot make {client.home}: {error.strerror}") from error
    replace_file(path, dump(apps))
    print(f"saved {pluralize(len(apps), 'app')} in {path}")
    return 0


def resurrect(client: Client, options: Options) -> int:
    """Start the saved apps that do not run. Return the exit code."""
    code = 0
    for name, saved in _load_saved(client).items():
        if RegistryEntry(client.home / name).is_running():
            continue
        wait_options = WaitOptions(not options.no_wait, options.timeout)
        try:
            folder = claim_folder(client.home, check_app_name(name), exact=True)
            inherited = InheritedState((), ManualTarget.parse(saved.scaled))
            launch(
                client,
                folder,
                saved.working_directory,
                saved.arguments,
                wait_options,
                inherited=inherited,
                environment=saved.environment,
            )
        except StartFailedError as error:
            code = code or error.exit_code
        except PreforkError as error:
            print_error(f"{name}: {error}")
            code = code or error.exit_code
    return code


def _load_saved(client: Client) -> dict[str, SavedApp]:
    path = client.home / SAVED_FILE
    try:
        with Directory.open(client.home) as folder:
            return load(folder.read(SAVED_FILE, LARGEST_FILE).decode())
    except FileNotFoundError:
        raise UsageError(f"there is no {path}; `prefork save` writes it") from None
    except OSError as error:
        raise MachineError(f"cannot read {path}: {error.strerror}") from error
    except LaterVersionError as error:
        raise UsageError(
            f"{path}: {error}; use the prefork that wrote it, or `prefork save` writes a new one"
        ) from None
    except ValueError:
        raise UsageError(f"`prefork save` did not write {path}; it writes a new one") from None
