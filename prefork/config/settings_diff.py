"""What differs between two sets of settings, for whoever asks before a reload. PURE."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from prefork.config.options import OPTIONS, Config

MASKED = "***"
"""The text that is shown for the value of a variable."""


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One option, as a person would write it. ``restart``: a reload cannot change it."""

    key: str
    old: Any
    new: Any
    restart: bool


def list_changes(old: Config, new: Config) -> list[SettingChange]:
    """In the order of declaration. Of variables only the names are told, never the values."""
    found = []
    for name, option in OPTIONS.items():
        before, after = getattr(old, name), getattr(new, name)
        if name == "env":
            found += _list_variable_changes(before, after)
        elif before != after:
            format_value = option.value_type.format
            found.append(
                SettingChange(option.key, format_value(before), format_value(after), option.restart)
            )
    return found


def keep_restart_options(old: Config, new: Config) -> Config:
    """``new`` as a reload makes it true: what takes a restart is as before."""
    kept = {name: getattr(old, name) for name, option in OPTIONS.items() if option.restart}
    return replace(new, **kept)


def list_restart_changes(old: Config, new: Config) -> list[str]:
    """Keys that differ and that only a restart can change."""
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
