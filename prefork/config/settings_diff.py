"""Compare two sets of settings, and combine them as a reload does. PURE.

Design
------
- **An option that needs a restart keeps its value in the new generation.** ``keep_restart_options``
  puts the value in force back into the new settings, so every later plan and reload names the
  option again until the app is restarted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from prefork.config.options import OPTIONS, Config

MASKED = "***"
"""The text that is shown in place of the value of an environment variable."""


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One changed option.

    ``key`` is its TOML key, or ``env NAME`` for a variable. ``old`` and ``new`` are values in the
    form of a TOML file, with secrets hidden. ``restart`` says that only a restart applies the
    change.
    """

    key: str
    old: Any
    new: Any
    restart: bool


def list_changes(old: Config, new: Config) -> list[SettingChange]:
    """List the options that differ, in the order of their declaration.

    Environment variables are listed with their names only, because a value may be a secret.
    """
    found = []
    for name, option in OPTIONS.items():
        before, after = getattr(old, name), getattr(new, name)
        if name == "env":
            found += _list_variable_changes(before, after)
        elif before != after:
            format_value = option.value_type.format_shown
            found.append(
                SettingChange(option.key, format_value(before), format_value(after), option.restart)
            )
    return found


def keep_restart_options(old: Config, new: Config) -> Config:
    """Return the settings in force after a reload from ``old`` to ``new``.

    They are those of ``new``, except that options which need a restart keep their old values.
    """
    kept = {name: getattr(old, name) for name, option in OPTIONS.items() if option.restart}
    return replace(new, **kept)


def list_restart_changes(old: Config, new: Config) -> list[str]:
    """List the keys of the options that differ and that only a restart can change."""
    return [
        option.key
        for name, option in OPTIONS.items()
        if option.restart and getattr(old, name) != getattr(new, name)
    ]


def _list_variable_changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[SettingChange]:
    found = []
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            before = "set" if name in old else "unset"
            after = "unset" if name not in new else "another value" if name in old else "set"
            found.append(SettingChange(f"env {name}", before, after, False))
    return found
