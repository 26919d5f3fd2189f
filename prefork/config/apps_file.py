"""Parse a file that declares several apps, into the layers of each app's settings. PURE.

    [defaults]                   options of all apps
    [apps.web]                   options of one app, and after = ["db"]: apps to start before it
    [apps.web.env]               environment variables of the app, also possible in [defaults]
    [apps.web.env_production]    more variables, used with --stage production
    [apps.web.stage_production]  other values of options, used with --stage production

The table of an app overrides [defaults], and in each of both the stage overrides the rest.
Variables are merged in the same order, and read anew from the file at each reload, so a variable
that was removed from the file is missing in the next generation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prefork.config.options import OPTIONS
from prefork.config.problems import Problems
from prefork.config.sources import Layer, file_layer, resolve, suggest_nearest
from prefork.errors import UsageError

TOP_LEVEL_TABLES = ("apps", "defaults")
STAGE_PREFIX = "env_"
"""A key with this prefix holds the environment variables of one stage."""

OPTIONS_PREFIX = "stage_"
"""A key with this prefix holds the options of one stage."""

FORBIDDEN_OPTIONS = {
    "name": "the name of an app is that of its table",
    "daemon": "apps of such a file run in the background",
    "config": "a file does not read another",
}
"""Options that such a file must not set, and the reasons."""

_NOT_OF_A_STAGE = {
    **FORBIDDEN_OPTIONS,
    "env": "the variables of a stage are in its table env_NAME",
    "after": "it is the same in all stages",
}

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
    """Return whether the file declares several apps, not the options of one at its top level."""
    return any(name in table for name in TOP_LEVEL_TABLES)


def parse_sections(
    table: Table, path: str, folder: str, stage: str = "", only: str = ""
) -> dict[str, AppSection]:
    """Return the apps of a file by name, in the order of the file.

    ``table`` is the parsed file and ``path`` its path for messages. Relative paths in it start at
    ``folder``. ``stage`` selects the tables env_STAGE. With ``only`` just this app is parsed, so
    that a mistake in the table of another app does not prevent its reload. Raises UsageError, which
    has all that is wrong.
    """
    problems = Problems()
    for key in table:
        with problems:
            _check_top_level(key, path)
    defaults = _require_table(table.get("defaults", {}), f"{path}, [defaults]")
    apps = _require_table(table.get("apps", {}), f"{path}, [apps]")
    sections = {}
    with problems:
        if not apps:
            raise UsageError(f"{path}: there is no app in it, as in [apps.web]")
        if "after" in defaults:
            raise UsageError(f"{path}, [defaults]: after is for one app, as in [apps.web]")
    for name in select_apps(list(apps), [only], path):
        with problems:
            section = _parse_section(name, apps[name], defaults, (path, folder, stage))
            sections[name] = section
            _check_after(section, apps, path)
            resolve(section.layers)
    problems.raise_all()
    return sections


def _check_top_level(key: str, path: str) -> None:
    if key not in TOP_LEVEL_TABLES:
        hint = suggest_nearest(key, TOP_LEVEL_TABLES)
        raise UsageError(f"{path}: beside [apps.NAME] there is only [defaults], not {key!r}{hint}")


def check_stage(table: Table, path: str, stage: str) -> None:
    """Raise UsageError if no table of the file belongs to ``stage``. The file must be valid.

    Only the command that names a stage checks it. A reload does not: when the last table of a stage
    is removed from the file, the next generation simply has none of its variables.
    """
    tables = [table.get("defaults", {}), *table.get("apps", {}).values()]
    prefixes = (STAGE_PREFIX, OPTIONS_PREFIX)
    keys = [(key, prefix) for each in tables for prefix in prefixes for key in _keys(each, prefix)]
    known = [key.removeprefix(prefix) for key, prefix in keys]
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
    problems = Problems()
    for table, place in ((defaults, "defaults"), (content, f"apps.{name}")):
        where = f"{path}, [{place}]"
        own = dict(_require_table(table, where))
        _remove_forbidden(own, where, FORBIDDEN_OPTIONS, problems)
        with problems:
            after = _parse_after(own.pop("after"), where) if "after" in own else after
        stages = _take_stage_options(own, (path, place, folder), problems)
        for key in ("env", *_keys(own, STAGE_PREFIX)):
            raw = own.pop(key, {})
            with problems:
                values = resolve([Layer(f"{path}, [{place}.{key}]", {"env": raw})]).config.env
                if key in ("env", STAGE_PREFIX + stage):
                    variables |= values
        with problems:
            layers.append(file_layer(own, where, folder, also=("after", "env_", "stage_")))
        layers += [layer for key, layer in stages.items() if key == OPTIONS_PREFIX + stage]
    if problems:
        with problems:
            resolve(layers)
        problems.raise_all()
    layers.append(Layer(f"{path}, [apps.{name}.env]", {"env": variables}))
    return AppSection(name, tuple(layers), after)


def _remove_forbidden(
    table: dict[str, Any], where: str, forbidden: Mapping[str, str], problems: Problems
) -> None:
    """Remove the options that a table must not set; each is a problem."""
    for key, why in forbidden.items():
        with problems:
            if table.pop(key, None) is not None:
                raise UsageError(f"{where}: {key} cannot be set here: {why}")


def _take_stage_options(
    table: dict[str, Any], file: tuple[str, str, str], problems: Problems
) -> dict[str, Layer]:
    """Remove the tables stage_NAME from a table; return their options by the key. All are checked.

    ``file`` holds the path, the name of the table and the folder.
    """
    path, place, folder = file
    layers = {}
    for key in _keys(table, OPTIONS_PREFIX):
        where, raw = f"{path}, [{place}.{key}]", table.pop(key)
        with problems:
            own = dict(_require_table(raw, where))
            _remove_forbidden(own, where, _NOT_OF_A_STAGE, problems)
            layers[key] = file_layer(own, where, folder)
            resolve([layers[key]])
    return layers


def _keys(content: object, prefix: str) -> list[str]:
    """List the keys of a table that begin with a prefix and are no options."""
    keys = content if isinstance(content, Mapping) else {}
    return [key for key in keys if key.startswith(prefix) and key not in OPTIONS]


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
