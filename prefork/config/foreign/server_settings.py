"""Convert the settings of a gunicorn.conf.py, or of a hypercorn.toml. PURE.

Design
------
- **A reload never runs such a file.** gunicorn's settings are Python, and prefork's master runs
  none of an app: ``prefork convert`` runs the file once, in a process of its own, and prints TOML.
  Its hooks are code and cannot be carried over; a note names each of them.
"""

from collections.abc import Mapping
from typing import Any

from prefork.config.apps_file import TOP_LEVEL_TABLES
from prefork.config.foreign.converted_app import ConvertedApp, start_paths_at
from prefork.config.foreign.foreign_table import explain, find_key, select_by_value
from prefork.config.foreign.foreign_word import ForeignWord, How, PeerName
from prefork.config.options import OPTIONS

_NO_APP = (
    "The file names no app: name it on the command line, as in prefork -c prefork.toml myapp:app, "
    'or here: app = "myapp:app"'
)
"""Most command lines of gunicorn and hypercorn name the app beside the file."""

_SPLIT_AT_COMMAS = ("bind", "raw_env", "reload_extra_files")
"""Settings of gunicorn whose items may be in one text, with commas between them."""


def is_own_file(table: Mapping[str, Any]) -> bool:
    """Return whether a TOML file has keys of prefork that hypercorn does not have."""
    return any(
        key in TOP_LEVEL_TABLES
        or (key.replace("-", "_") in OPTIONS and not find_key(key, PeerName.HYPERCORN))
        for key in table
    )


def convert_server_settings(values: Mapping[str, Any], peer: PeerName) -> ConvertedApp:
    """Return the app whose settings have these values, by the names of gunicorn or hypercorn."""
    app = ConvertedApp("app")
    for key, given in values.items():
        is_text_of_several = peer is PeerName.GUNICORN and key in _SPLIT_AT_COMMAS
        value = given.split(",") if is_text_of_several and isinstance(given, str) else given
        found = select_by_value(find_key(key, peer), str(value))
        if not found or value is None or value is False:
            continue
        word = found[0]
        if key in ("wsgi_app", "application_path"):
            app.settings["app"] = str(value)
        elif key == "raw_env":
            app.env |= dict(each.partition("=")[::2] for each in _texts(value))
        elif word.how in (How.SAME, How.TAKEN) and word.option in OPTIONS:
            app.settings |= _settings(word, value)
            app.notes += [explain(found, key, "prefork.toml")] if word.is_noted else []
        else:
            verdict = "" if word.how is How.IGNORED else "not carried over: "
            app.notes.append(f"{verdict}{explain(found, key, 'prefork.toml')}")
    if "app" not in app.settings:
        app.notes.append(_NO_APP)
    # These servers change to the folder before they open a file.
    if folder := app.settings.get("chdir"):
        app.settings = start_paths_at(app.settings, str(folder))
    return app


def _settings(word: ForeignWord, value: Any) -> dict[str, Any]:
    """Return our settings of one setting, in the form of TOML."""
    if not word.takes:
        return {word.option.replace("_", "-"): True}
    settings: dict[str, Any] = {}
    for text in _texts(value):
        given = word.settings(text) if word.how is How.TAKEN else {word.option: text}
        for option, each in given.items():
            key = OPTIONS[option].key
            if OPTIONS[option].value_type.is_list:
                new = [each] if isinstance(each, str) else list(each)
                settings[key] = list(dict.fromkeys([*settings.get(key, []), *new]))
            else:
                is_number = isinstance(each, str) and each.isdigit() and key != "umask"
                settings[key] = int(str(each)) if is_number else each
    return settings


def _texts(value: Any) -> list[str]:
    """Return the items of a list as texts, or a single value as one."""
    if isinstance(value, list | tuple):
        return [text for each in value if (text := str(each).strip())]
    return [str(value)]
