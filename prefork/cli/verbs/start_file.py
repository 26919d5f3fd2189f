"""``prefork start FILE.toml``: compare what the file asks for with what runs, and change that.

The whole file is read before anything happens. Then missing apps are started, apps with changed
settings are reloaded, and apps whose settings did not change keep running.

Design
------
- **The master of an app from a file gets the file and the name of its table** (``-c FILE --section
  NAME``), never a copy of its settings: it reads them again at each reload. So ``start FILE`` only
  asks each master for its plan (what differs from the settings in force, by its own environment and
  flags) and reloads where there is a difference. Code is not compared; new code is what ``reload``
  is for.
- **Apps of a file start side by side, as many as there are cores** (``parallel_tasks.py``), each
  after the apps that its ``after`` names. Modules that masters import are imported once, before the
  forks. 16 apps took 23 s on a machine with a load of 30, and now take 5.
- **A master reads its own table of the file only.** To read those of all 200 apps for each of 200
  apps cost 10 s, and a mistake in one table refused the reload of all.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from prefork.cli.output.standard_output import print_error
from prefork.cli.registry.client import MAX_PARALLEL, Client
from prefork.cli.serve.settings_loader import SettingsLoader, absolute_path, read_toml_file
from prefork.cli.verbs.ask_masters import ask_app
from prefork.cli.verbs.change import delete_app
from prefork.cli.verbs.launch import WaitOptions, launch
from prefork.cli.verbs.parallel_tasks import Task, run_tasks
from prefork.cli.verbs.verb_parser import add_arguments
from prefork.cli.view.answers import print_changes
from prefork.config import Config
from prefork.config.apps_file import (
    check_stage,
    is_apps_file,
    parse_sections,
    select_apps,
    sort_by_dependency,
)
from prefork.config.foreign.file_names import is_ecosystem, is_procfile, is_supervisor_file
from prefork.config.parser import START_FILE, Parser, parse_verb
from prefork.config.problems import Problems
from prefork.config.target import require_target, resolve_name
from prefork.errors import AppError, MachineError, PreforkError, UsageError
from prefork.unix.cores import usable_cores
from prefork.unix.home import check_app_name, claim_folder, list_entries, make_app_name
from prefork.unix.registry_entry import RegistryEntry
from prefork.wire.verb_table import PLAN, RELOAD, START

Options = argparse.Namespace


@dataclass(frozen=True, slots=True)
class FileApp:
    """One app of a file.

    ``arguments``: the command line of its master; ``after``: apps to start before.
    """

    name: str
    arguments: list[str]
    config: Config
    after: tuple[str, ...] = ()


class StepKind(Enum):
    """The effect of a step on its app, as ``--dry-run`` prints it.

    RESTART: only a restart would bring the changes, and that is left to the operator.
    """

    START = "would be started"
    RELOAD = "would be reloaded"
    SAME = "would stay as it is"
    RESTART = "would keep running as it is"
    DELETE = "would be stopped and deleted"


@dataclass(slots=True)
class PlanStep:
    """One step of a plan, for one app.

    ``app`` is None for an app that left the file; ``changes``: settings that differ from those in
    force; ``note``: what the operator has to do in addition; ``trouble``: why an app that stays as
    it is needs attention, and ``code``: the exit code for it.
    """

    app: FileApp | None
    name: str
    kind: StepKind
    entry: RegistryEntry | None = None
    changes: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""
    trouble: str = ""
    code: int = 0


def names_apps_file(word: str) -> bool:
    """Return whether a target of ``prefork start`` is a file of apps, also of another manager."""
    return word.endswith(".toml") or is_foreign_file(word)


def is_foreign_file(word: str) -> bool:
    """Return whether a target is a file of another manager, which is converted first."""
    return is_ecosystem(word) or is_procfile(word) or is_supervisor_file(word)


def _settings_path(client: Client, file: str) -> str:
    """Return the path of the file that the apps are read from. Raises PreforkError."""
    path = absolute_path(file)
    if not is_foreign_file(file):
        return path
    from prefork.cli.verbs.foreign_file import convert_to_home  # noqa: PLC0415 - few files need it

    return convert_to_home(client, path)


def start_file(client: Client, arguments: Sequence[str]) -> tuple[int, list[RegistryEntry]]:
    """Start, reload or delete apps until they are as the file says.

    Returns the exit code and the apps that are so now. Raises PreforkError.
    """
    options, notes = parse_verb(_build_parser(), arguments, START_FILE)
    for note in notes:
        print_error(note)
    folder = os.path.dirname(absolute_path(options.file))
    path = _settings_path(client, options.file)
    apps = load_apps(path, options.env or "", options.only)
    # The threads have ended before an app is started: a fork copies locks that threads hold.
    with ThreadPoolExecutor(MAX_PARALLEL) as threads:
        steps = list(
            threads.map(lambda app: _plan_step(client, app, path, options.env or ""), apps)
        )
    if options.prune:
        steps += _removed_apps(
            client, path, {app.name for app in load_apps(path, options.env or "")}
        )
    if options.dry_run:
        for step in steps:
            print_step(step)
        return 0, []
    unchanged = [step for step in steps if step.kind in (StepKind.SAME, StepKind.RESTART)]
    for step in unchanged:  # apps that stay as they are, printed in the order of the file
        _print_unchanged(step)
    if any(step.kind is StepKind.START for step in steps):
        _import_master_modules(apps)
    tasks = [_task(client, step, folder, options) for step in steps if step not in unchanged]
    codes = {step.name: step.code for step in unchanged} | run_tasks(tasks, usable_cores())
    code = next((codes[step.name] for step in steps if codes[step.name]), 0)
    return code, [RegistryEntry(client.home / app.name) for app in apps if not codes[app.name]]


def _task(client: Client, step: PlanStep, folder: str, options: Options) -> Task:
    """Return a task that carries out the step; apps that left the file come last."""
    after = step.app.after if step.app is not None else ()
    return Task(
        step.name, lambda: _carry_out(client, step, folder, options), after, step.app is None
    )


def _import_master_modules(apps: list[FileApp]) -> None:
    """Import the modules that masters need.

    This is done once, because all masters are forked from this process.
    """
    # Imported here, because most calls find that no app has to be started.
    from prefork.cli.serve import run_master  # noqa: F401, PLC0415 - imported for the children
    from prefork.worker.boot import import_serving_modules  # noqa: PLC0415

    for app in apps:
        if app.config.app:
            import_serving_modules(app.config)


def load_apps(path: str, stage: str = "", only: str = "") -> list[FileApp]:
    """Return the apps of a file in the order of their start; their settings are checked.

    A file without [apps] is one app, with its options at the top. ``stage``: the value of
    ``--env``; ``only``: names of apps, separated by commas. Raises UsageError.
    """
    table, folder = read_toml_file(path), os.path.dirname(path)
    if not is_apps_file(table):
        return [_single_app(path, stage, only)]
    known = parse_sections(table, path, folder, stage)
    check_stage(table, path, stage)
    apps = []
    problems = Problems()
    for name in select_apps(sort_by_dependency(known), only.split(","), path):
        check_app_name(name)
        arguments = ["-c", path, "--section", name]
        if stage:
            arguments += ["--stage", stage]
        arguments += ["--daemon", "--managed", "--name", name]
        with problems:
            config = SettingsLoader(arguments, os.environ).read(table).config
            _require_target(config, f"{path}, [apps.{name}]")
            apps.append(FileApp(name, arguments, config, known[name].after))
    problems.raise_all()
    return apps


def _single_app(path: str, stage: str, only: str) -> FileApp:
    """Return the app of a file without [apps]."""
    if stage or only:
        raise UsageError(f"{path}: --env and --only are for files with [apps.NAME]")
    config = SettingsLoader(["-c", path], os.environ).read().config
    _require_target(config, path)
    name = check_app_name(make_app_name(resolve_name(config)))
    return FileApp(name, ["-c", path, "--daemon", "--managed", "--name", name], config)


def _require_target(config: Config, where: str) -> None:
    """Raise UsageError, which begins with ``where``, if the settings have nothing to be served."""
    if not (config.app or config.command):
        raise UsageError(f'{where}: no app, as in app = "myapp:main"')
    try:
        require_target(config)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


# The steps of a plan.


def _plan_step(client: Client, app: FileApp, path: str, stage: str) -> PlanStep:
    """Return the step for one app. Raises UsageError when it runs from another file."""
    entry = RegistryEntry(client.home / app.name)
    if not entry.is_running():
        return PlanStep(app, app.name, StepKind.START, entry)
    entry = client.latest(entry)
    description = client.describe(entry)
    trouble, code = _find_trouble(description)
    if entry.state.get("file") != path:
        raise UsageError(
            f"{app.name} runs already, and not from {path}; "
            f"`prefork stop {app.name}` first, or use another name"
        )
    if description["state"] == "hung":
        return PlanStep(app, app.name, StepKind.SAME, entry, trouble=trouble, code=code)
    changes = list(client.ask(entry, PLAN)["changes"])
    if entry.state.get("stage", "") != stage:
        note = f"another --env takes `prefork stop {app.name}` and this start"
        return PlanStep(app, app.name, StepKind.RESTART, entry, changes, note, trouble, code)
    restart_keys = [change["key"] for change in changes if change["restart"]]
    note = (
        f"changing {', '.join(restart_keys)} takes `prefork restart {app.name}`"
        if restart_keys
        else ""
    )
    if not changes:
        return PlanStep(app, app.name, StepKind.SAME, entry, trouble=trouble, code=code)
    needs_restart = len(restart_keys) == len(changes)
    if needs_restart:
        return PlanStep(app, app.name, StepKind.RESTART, entry, changes, note, trouble, code)
    return PlanStep(app, app.name, StepKind.RELOAD, entry, changes, note)


def _find_trouble(app: Mapping[str, Any]) -> tuple[str, int]:
    """Return why a running app does not serve as its file says although nothing has to be changed,
    with what helps, and an exit code; nothing and 0: all is well.
    """
    name, state = app["name"], app["state"]
    if state == "hung":
        return f"the master does not answer; `prefork stop --force {name}` ends it", (
            MachineError.exit_code
        )
    if state == "failing":
        why = f"failing: its workers end again and again; `prefork why {name}` says why"
        return why, AppError.exit_code
    if state != "frozen":
        return "", 0
    reason = str(app.get("failure", "")).partition("\n")[0]
    serving = f"gen {app['generation']} serves on"
    return (
        f"frozen: the last reload failed, and {serving}: {reason}\n"
        f"`prefork why {name}` has the whole reason; mend it, then `prefork reload {name}`"
    ), AppError.exit_code


def _removed_apps(client: Client, path: str, names: set[str]) -> list[PlanStep]:
    """Return steps that delete the apps which were started from the file and are not among
    ``names``.
    """
    return [
        PlanStep(None, entry.name, StepKind.DELETE, entry)
        for entry in list_entries(client.home)
        if entry.state.get("file") == path and entry.name not in names
    ]


def print_step(step: PlanStep) -> None:
    """Print one step of a plan."""
    print(f"{step.name}: {step.kind.value}")
    print_changes(step.changes)
    for text in filter(None, (step.note, step.trouble)):
        print("\n".join(f"  {line}" for line in text.splitlines()))


def _print_unchanged(step: PlanStep) -> None:
    """Print that an app stays as it is, or why it needs attention."""
    if step.trouble:
        print_error(f"{step.name}: unchanged, but {step.trouble}")
    else:
        print(f"{step.name}: unchanged")
    if step.note:
        print(f"{step.name}: {step.note}")


def _carry_out(client: Client, step: PlanStep, folder: str, options: Options) -> None:
    """Carry out one step of a plan and print its outcome. Raises PreforkError, StartFailedError."""
    wait_options = WaitOptions(not options.no_wait, options.timeout)
    if step.kind is StepKind.START and step.app is not None:
        kept = None if options.update_env or step.entry is None else step.entry.read_environment()
        claimed = claim_folder(client.home, step.name, exact=True)
        fresh = not (claimed.path / "state").exists()
        arguments = step.app.arguments
        launch(client, claimed, folder, arguments, wait_options, fresh, environment=kept)
    elif step.kind is StepKind.RELOAD and step.entry is not None:
        result = ask_app(client, RELOAD, step.entry, options).values
        outcome = f"reloaded to gen {result['generation']}" if "took" in result else "reloading"
        print(f"{step.name}: {outcome} ({', '.join(each['key'] for each in step.changes)})")
    elif step.kind is StepKind.DELETE and step.entry is not None:
        delete_app(client, step.entry, options)
    if step.note:
        print(f"{step.name}: {step.note}")


def check(client: Client, options: Options) -> int:
    """Load the apps of a file, or one target, and print the results. Return the exit code."""
    from prefork.cli.serve.check_app import check_app  # noqa: PLC0415 - only check needs it
    from prefork.cli.serve.settings_loader import start_folder  # noqa: PLC0415

    if names_apps_file(options.target):
        path = _settings_path(client, options.target)
        todo = [(app.name, app.config) for app in load_apps(path, options.env or "", options.only)]
        here = os.path.dirname(path)
    else:
        # The result and the errors name the target.
        todo = [("", SettingsLoader([options.target], os.environ).read().config)]
        here = start_folder()
    code = 0
    for name, config in todo:
        prefix = f"{name}: " if name else ""
        try:
            print(f"{prefix}ok: {check_app(config, here)}", flush=True)
        except PreforkError as error:
            print_error(f"{prefix}{error}")
            code = code or error.exit_code
    return code


def _build_parser() -> Parser:
    """Return the parser of ``start`` with a file: the file, and the flags of the verb."""
    parser = Parser(prog="prefork start", description="Start or reload the apps of a file.")
    parser.add_argument("file", metavar="FILE.toml")
    parser.set_defaults(quick=False, force=False)
    add_arguments(parser, (each for each in START.arguments if each.flags))
    return parser
