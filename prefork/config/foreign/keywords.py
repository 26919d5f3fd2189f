"""Words of other servers as keyword arguments of ``prefork.run``. PURE.

``uvicorn.run`` has its flags as arguments, and users of gunicorn know its settings by these names.
"""

from typing import Any

from prefork.config.foreign.foreign_table import explain, find_flag, find_key, select_by_value
from prefork.config.foreign.foreign_word import ForeignWord, How, PeerName
from prefork.errors import UsageError

SERVERS = (PeerName.UVICORN, PeerName.GUNICORN, PeerName.HYPERCORN, PeerName.GRANIAN)
"""The servers whose words are taken, in the order in which they are asked."""

SOURCE = "prefork.run()"
"""The place of the arguments in messages."""


def translate_keyword(key: str, value: object) -> tuple[dict[str, Any], str] | None:
    """Return our settings of an argument, and a line about it; None: it is no word of a server.

    None as a value is the default of many arguments of ``uvicorn.run``, and says nothing. True and
    False mean the flag, or the one with ``--no-``. Raises UsageError for a word that is refused.
    """
    found = _find_switch(key, value) if isinstance(value, bool) else _find(key, value)
    if found is None:
        return None
    says_nothing = value is None or value == [] or not found
    return ({}, "") if says_nothing else _settings(key, value, found)


def _settings(key: str, value: object, found: list[ForeignWord]) -> tuple[dict[str, Any], str]:
    word = found[0]
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if word.how is How.IGNORED:
        return dict(word.settings(text)), f"ignored: {explain(found, key)}"
    if word.how is How.SAME:
        return {word.option: value}, ""
    if word.how is not How.TAKEN:
        shown = f"{key}={value}" if isinstance(value, bool) else key
        meaning = explain(found, shown, SOURCE)
        raise UsageError(f"{SOURCE}: no option is called {key!r}: {meaning}")
    if isinstance(value, list | tuple) and word.convert is None:
        return {word.option: tuple(map(str, value))}, ""
    return dict(word.settings(text)), explain(found, key) if word.is_noted else ""


def _find(key: str, value: object) -> list[ForeignWord] | None:
    """Return the words that an argument with this value means; None: it is no word of a server."""
    for peer in SERVERS:
        if known := find_key(key, peer) or find_flag(_flag(key), peer):
            return select_by_value([each for each in known if each.takes] or known, str(value))
    return None


def _find_switch(key: str, value: bool) -> list[ForeignWord] | None:
    """Return the words that True or False means; empty: the default; None: it is no word."""
    flag = _flag(key) if value else _flag(f"no_{key}")
    for peer in SERVERS:
        if meant := [each for each in find_flag(flag, peer) if not each.takes]:
            return meant
        if known := find_key(key, peer) or find_flag(_flag(key), peer):
            is_switch = not any(each.takes for each in known)
            return [] if is_switch and not value else select_by_value(known, str(value).lower())
    return None


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")
