"""An app that was declared in the file of another manager, and its table in TOML. PURE."""

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import toml

from prefork.config.options import OPTIONS
from prefork.config.sources import resolve_paths
from prefork.config.toml_text import toml_string
from prefork.printable import printable_line

_encoder = toml.TomlEncoder()
_encoder.dump_funcs[str] = toml_string


@dataclass(slots=True)
class ConvertedApp:
    """One app, in the words of prefork.

    ``settings``: values by key, in the form of TOML. ``env``: its variables. ``stages``: more of
    them by the name of the stage, and ``stage_settings`` the values of options that differ there.
    ``notes``: what was not carried over, and why.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    stages: dict[str, dict[str, str]] = field(default_factory=dict)
    stage_settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def make_name(text: str) -> str:
    """Return a valid name of an app that resembles a text."""
    return re.sub(r"[^A-Za-z0-9_.@-]+", "-", text).strip("-.@")[:100] or "app"


def start_paths_at(settings: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Return settings whose relative paths start at ``folder``, which is that of the app.

    The converted file is often in another folder. ``chdir`` stays, as it names that folder. A value
    that cannot be parsed stays, too, and is refused when the file is read.
    """
    return {
        key: value if key == "chdir" else _start_path_at(key, value, folder)
        for key, value in settings.items()
    }


def _start_path_at(key: str, raw: Any, folder: str) -> Any:
    option = OPTIONS.get(key.replace("-", "_"))
    if option is None or not option.value_type.is_path:
        return raw
    try:
        value = option.value_type.parse(raw)
    except ValueError:
        return raw
    resolved = resolve_paths(folder, value)
    return raw if resolved == value else option.value_type.format(resolved)


def file_stem(path: str) -> str:
    """Return the name of a file without folder and suffix."""
    return posixpath.splitext(posixpath.basename(path))[0]


def format_apps(apps: Iterable[ConvertedApp], source: str, notes: Iterable[str] = ()) -> str:
    """Return a file with several apps.

    ``source``: the file that they were made from. ``notes``: about it as a whole.
    """
    lines = _comments([f"Made by prefork from {source}.", *notes])
    for app in apps:
        name = _key(app.name)
        lines += ["", f"[apps.{name}]", *_comments(app.notes), *_lines(app.settings)]
        tables = [("env", app.env)]
        tables += [(f"env_{stage}", values) for stage, values in app.stages.items()]
        tables += [(f"stage_{stage}", values) for stage, values in app.stage_settings.items()]
        for table, values in tables:
            if values:
                lines += ["", f"[apps.{name}.{_key(table)}]", *_lines(values)]
    return "\n".join(lines) + "\n"


def format_single(app: ConvertedApp, source: str) -> str:
    """Return a file of one app, for ``prefork -c``."""
    lines = [*_comments([f"Made by prefork from {source}.", *app.notes]), *_lines(app.settings)]
    if app.env:
        lines += ["", "[env]", *_lines(app.env)]
    return "\n".join(lines) + "\n"


def _comments(notes: Iterable[str]) -> list[str]:
    return [f"# {printable_line(' '.join(note.split()))}" for note in notes]


def _lines(values: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in values.items()]


def _key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else toml_string(key)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(_encoder.dump_value(value))
