"""Parse a file that declares several apps, into the layers of each app's settings. PURE.

    [defaults]                   options of all apps
    [apps.web]                   options of one app, and after = ["db"]: apps to start before it
    [apps.web.env]               environment variables of the app, also possible in [defaults]
    [apps.web.env_production]    more variables, used with --stage production

The table of an app overrides [defaults]. Variables are merged in the same order, and read anew from
the file at each reload, so a variable that was removed from the file is missing in the next
generation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prefork.config.options import OPTIONS
from prefork.config.sources import Layer, file_layer, resolve, suggest_nearest
from prefork.errors import UsageError

TOP_LEVEL_TABLES = ("apps", "defaults")
STAGE_PREFIX = "env_"
"""A key with this prefix holds the environment variables of one stage."""

FORBIDDEN_OPTIONS = {
    "name": "the name of an app is that of its table",
    "daemon": "apps of such a file run in the background",
    "config": "a file does not read another",
}
"""Options that such a file must not set, and the reasons."""

Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AppSection:
    """One app of the file.

    ``name`` is the name of its table, ``layers`` are its settings in ascending precedence, and
    ``after`` holds the names of the apps that are started before it.
    """

    name: str
    layers: tuple[Layer, ...]
    after: tuple[str, ...]


def is_apps_file(table: Table) -> bool:
    """Whether the file declares several apps; else the options of one app are at its top level."""
    return any(name in table for name in TOP_LEVEL_TABLES)


def parse_sections(
    table: Table, path: str, folder: str, stage: str = "", only: str = ""
) -> dict[str, AppSection]:
    """Return the apps of a file by name, in the order of the file.

    ``table`` is the parsed file and ``path`` its path for messages. Relative paths in it start at
    ``folder``. ``stage`` selects the tables env_STAGE. With ``only`` just this app is parsed, so
    that a mistake in the table of another app does not prevent its reload. Raises UsageError.
    """
    for key in table:
        if key not in TOP_LEVEL_TABLES:
            hint = suggest_nearest(key, TOP_LEVEL_TABLES)
            raise UsageError(
                f"{path}: beside [apps.NAME] there is only [defaults], not {key!r}{hint}"
            )
    defaults = _require_table(table.get("defaults", {}), f"{path}, [defaults]")
    apps = _require_table(table.get("apps", {}), f"{path}, [apps]")
    if not apps:
        raise UsageError(f"{path}: there is no app in it, as in [apps.web]")
    if "after" in defaults:
        raise UsageError(f"{path}, [defaults]: after is for one app, as in [apps.web]")
    sections = {}
    for name in select_apps(list(apps), [only], path):
        sections[name] = _parse_section(name, apps[name], defaults, (path, folder, stage))
    for section in sections.values():
        _check_after(section, apps, path)
    return sections


def check_stage(table: Table, path: str, stage: str) -> None:
    """Raise UsageError if no table of the file belongs to ``stage``. The file must be valid.

    Only the command that names a stage checks it. A reload does not: when the last table of a stage
    is removed from the file, the next generation simply has none of its variables.
    """
    tables = [table.get("defaults", {}), *table.get("apps", {}).values()]
    known = [key.removeprefix(STAGE_PREFIX) for each in tables for key in _stage_keys(each)]
    if stage and stage not in known:
        raise UsageError(
            f"{path}: no app has a table {STAGE_PREFIX}{stage}{suggest_nearest(stage, known)}"
        )


def sort_by_dependency(known: Mapping[str, AppSection]) -> list[str]:
    """Return all names so that each one follows the apps of its ``after``.

    Where ``after`` leaves a choice, the order of the file decides. Raises UsageError for a cycle.
    """
    order: list[str] = []

    def visit(name: str, ancestors: tuple[str, ...]) -> None:
        if name in ancestors:
            cycle = " -> ".join([*ancestors[ancestors.index(name) :], name])
            raise UsageError(f"the apps wait for each other in a cycle: after {cycle}")
        if name not in order:
            for before in known[name].after:
                visit(before, (*ancestors, name))
            order.append(name)

    for name in known:
        visit(name, ())
    return order


def select_apps(order: list[str], only: Iterable[str], path: str) -> list[str]:
    """Return the names of ``order`` that are in ``only``, or all if ``only`` has no name.

    ``path`` is the file's path for messages. Raises UsageError for a name that is not in ``order``.
    """
    wanted = [name for name in only if name]
    for name in wanted:
        if name not in order:
            raise UsageError(f"{path}: there is no [apps.{name}]{suggest_nearest(name, order)}")
    return [name for name in order if name in wanted or not wanted]


def _parse_section(
    name: str, content: object, defaults: Table, file: tuple[str, str, str]
) -> AppSection:
    """Return the app ``name``, whose table is ``content``.

    ``file`` holds the path, the folder and the stage, see ``parse_sections``.
    """
    path, folder, stage = file
    variables: dict[str, str] = {}
    layers = []
    after: tuple[str, ...] = ()
    for table, place in ((defaults, "defaults"), (content, f"apps.{name}")):
        where = f"{path}, [{place}]"
        own = dict(_require_table(table, where))
        for key, why in FORBIDDEN_OPTIONS.items():
            if key in own:
                raise UsageError(f"{where}: {key} cannot be set here: {why}")
        if "after" in own:
            after = _parse_after(own.pop("after"), where)
        for key in ("env", *_stage_keys(own)):
            raw = own.pop(key, {})
            values = resolve([Layer(f"{path}, [{place}.{key}]", {"env": raw})]).config.env
            if key in ("env", STAGE_PREFIX + stage):
                variables |= values
        layers.append(file_layer(own, where, folder, also=("after", "env_")))
    layers.append(Layer(f"{path}, [apps.{name}.env]", {"env": variables}))
    return AppSection(name, tuple(layers), after)


def _stage_keys(content: object) -> list[str]:
    """List the keys of a table that hold the variables of a stage."""
    keys = content if isinstance(content, Mapping) else {}
    return [key for key in keys if key.startswith(STAGE_PREFIX) and key not in OPTIONS]


def _parse_after(raw: object, where: str) -> tuple[str, ...]:
    names = [raw] if isinstance(raw, str) else raw
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(f'{where}: after is wrong: expected names of apps, as in ["db"]')
    return tuple(names)


def _check_after(section: AppSection, known: Table, path: str) -> None:
    for name in section.after:
        if name not in known:
            others = [other for other in known if other != section.name]
            raise UsageError(
                f"{path}, [apps.{section.name}]: after: there is no [apps.{name}]"
                f"{suggest_nearest(name, others)}"
            )


def _require_table(content: object, where: str) -> Table:
    if not isinstance(content, Mapping):
        raise UsageError(f"{where}: expected a table with options, not {content!r}")
    return content
