"""Describe options for the manual: a paragraph for each, in Markdown. PURE."""

from typing import Any

from prefork.config.foreign.foreign_table import WORDS
from prefork.config.foreign.foreign_word import How
from prefork.config.option_details import DETAILS
from prefork.config.options import POSITIONAL, Option, by_group


def settings_reference() -> str:
    """Return the sections of the settings page: the groups, with a paragraph for each option."""
    lines = []
    for group, options in by_group():
        lines += [f"## {group}\n", *(f"#{describe_option(option)}" for option in options)]
    return "\n".join(lines)


def describe_option(option: Option) -> str:
    """Return the section about one option, with its heading of the second level."""
    sentences = f"{_first_sentence(option)} {DETAILS.get(option.name, '')}".rstrip()
    return "\n".join([f"## `{_spell(option)}`", "", sentences, "", _facts(option), ""])


def _first_sentence(option: Option) -> str:
    """Return the help text as a sentence. A value at its start, as in ``off: never``, stays."""
    text = option.text.replace("*", "\\*")
    is_value = text.partition(" ")[0].endswith(":")
    return f"{text if is_value else text[:1].upper() + text[1:]}."


def _spell(option: Option) -> str:
    if option.name in POSITIONAL:
        return {"app": "MODULE:CALLABLE", "command": "-- PROGRAM ARGUMENTS"}[option.name]
    names = f"{option.short}, {option.flag}" if option.short else option.flag
    return f"{names} {option.value_type.metavar}".rstrip()


def _facts(option: Option) -> str:
    """Return the sentences on values, default, other spellings, and how a change takes effect."""
    expected, shown = option.value_type.expected, format_default(option)
    values = "" if expected in option.text else f"Value: {expected}. "
    change = " Needs a restart." if option.restart else ""
    return (
        f"{values}Default: {f'`{shown}`' if shown else 'none'}. In a file: `{option.key}`. In the "
        f"environment: `{option.variable}`.{change}{_elsewhere(option)}"
    )


def _elsewhere(option: Option) -> str:
    """Return the sentence with the names that the option has in other servers and managers."""
    names: dict[str, list[str]] = {}
    for word in WORDS:
        if word.option == option.name and not word.verb and word.how is not How.ABSENT:
            spelled = max(word.flags, key=len) if word.flags else word.keys[0]
            peer = names.setdefault(word.peer.value, [])
            peer += [f"`{spelled}`"] if f"`{spelled}`" not in peer else []
    found = "; ".join(f"{peer} {', '.join(spelled)}" for peer, spelled in names.items())
    return f" Elsewhere: {found}." if found else ""


def format_default(option: Option) -> str:
    """Return the default as it is written on the command line; empty: there is none."""
    shown: Any = option.show_default()
    if isinstance(shown, list):
        shown = " ".join(map(str, shown))
    if isinstance(shown, bool):
        return str(shown).lower()
    return "" if shown in ("", {}) else str(shown)
