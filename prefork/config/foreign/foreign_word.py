"""The parts of one row of the table of foreign words, and how a row is declared. PURE."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from prefork.config.drain_times import kill_timeout_for
from prefork.config.value_types import format_duration

Settings = dict[str, "str | tuple[str, ...]"]
"""Options of prefork by name, with the values of a command line; a tuple holds several values.

``host``, ``port``, ``uds`` and ``uds_mode`` may be among them: ``join_address`` makes a bind.
"""

Convert = Callable[[str], Settings]
"""Makes the settings of prefork from the value of a foreign flag; its value is "" without one."""


class PeerName(Enum):
    """The programs whose words are known, by the names that messages use."""

    GUNICORN = "gunicorn"
    UVICORN = "uvicorn"
    HYPERCORN = "hypercorn"
    GRANIAN = "granian"
    PM2 = "PM2"
    SUPERVISOR = "supervisor"


class How(Enum):
    """The treatment of a foreign word by prefork. The values are the texts of the documentation."""

    SAME = "the same"
    TAKEN = "taken as it is"
    IGNORED = "ignored, with a line"
    OTHER = "is typed differently"
    ABSENT = "no counterpart"


@dataclass(frozen=True, slots=True)
class ForeignWord:
    """One flag, setting, hook or verb of a peer, and its equal here.

    peer       the program whose word it is
    flags      its spellings on the command line; empty: it has none
    keys       its names in a settings file, or the name of the verb or hook
    how        what prefork does with it
    ours       what it is called here, as it is typed; empty: nothing
    text       what differs, or why it is not needed
    takes      how many words of the command line belong to the flag: 0 or 1
    convert    makes our settings from its value
    values     a regular expression of the values by which the flag is this peer's, where several
               peers have the flag
    verb       the verb that the flag belongs to
    example    the values of ``values``, as the documentation shows them
    is_noted   a line of the log says what a word that is taken does here
    """

    peer: PeerName
    flags: tuple[str, ...]
    keys: tuple[str, ...]
    how: How
    ours: str = ""
    text: str = ""
    takes: int = 1
    convert: Convert | None = None
    values: str = ""
    verb: str = ""
    example: str = ""
    is_noted: bool = False

    @property
    def option(self) -> str:
        """The name of the option that ``ours`` begins with, such as ``kill_timeout``."""
        return self.ours.split(" ")[0].removeprefix("--").replace("-", "_")

    @property
    def meaning(self) -> tuple[str, ...]:
        """The meaning of the word. Words of several peers with one meaning get one answer."""
        if self.how is How.IGNORED:
            return (self.how.name,)
        return ("ours", self.ours) if self.ours else (self.how.name, self.text)

    def settings(self, value: str) -> Settings:
        """Return our settings that say the same. The word is TAKEN or IGNORED."""
        if self.convert is not None:
            return self.convert(value)
        if self.how is How.IGNORED:
            return {}
        return {self.option: value if self.takes else "true"}


class PeerWords:
    """Declares the words of one peer, in the order of the documentation.

    ``names`` of each method are the spellings of one word, separated by spaces: those that begin
    with a dash are flags, the others keys. A flag takes a value unless ``takes`` is 0.
    """

    def __init__(self, peer: PeerName) -> None:
        self.peer = peer
        self.words: list[ForeignWord] = []

    def same(self, names: str, ours: str, text: str = "", **more: Any) -> None:
        """Declare a word that is the same here."""
        self._add(names, How.SAME, ours, text, more)

    def take(self, names: str, ours: str, text: str = "", **more: Any) -> None:
        """Declare a word that is taken for ours."""
        self._add(names, How.TAKEN, ours, text, more)

    def ignore(self, names: str, text: str, **more: Any) -> None:
        """Declare a word that is not needed, and that the command line may have."""
        self._add(names, How.IGNORED, "", text, more)

    def other(self, names: str, ours: str, text: str = "", **more: Any) -> None:
        """Declare a word whose equal has to be typed."""
        self._add(names, How.OTHER, ours, text, more)

    def absent(self, names: str, text: str, **more: Any) -> None:
        """Declare a word that has no counterpart, with the reason or with what to do instead."""
        self._add(names, How.ABSENT, "", text, more)

    def _add(self, names: str, how: How, ours: str, text: str, more: dict[str, Any]) -> None:
        words = names.split()
        flags = tuple(word for word in words if word.startswith("-"))
        keys = tuple(word for word in words if not word.startswith("-"))
        word = ForeignWord(self.peer, flags, keys, how, ours, text)
        self.words.append(replace(word, **more))


# Conversions of values.


def fixed(**settings: str | tuple[str, ...]) -> Convert:
    """Return a conversion to always the same settings."""
    return lambda _value: dict(settings)


def milliseconds(option: str) -> Convert:
    """Return a conversion of a number of milliseconds; a value with a unit stays."""
    return lambda value: {option: f"{value}ms" if value.isdigit() else value}


def mebibytes(option: str) -> Convert:
    """Return a conversion of a number of MiB."""
    return lambda value: {option: f"{value}m" if value.isdigit() else value}


def nonzero(option: str, least: str) -> Convert:
    """Return a conversion in which 0 becomes ``least``; other values stay."""
    return lambda value: {option: least if re.fullmatch(r"0*\.?0*s?", value) else value}


def whole_drain(value: str) -> Settings:
    """Convert the time that requests have after the stop signal into the kill timeout.

    A text that is no duration stays, for the message about a wrong value.
    """
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)s?", value)
    seconds = round(kill_timeout_for(float(match[1])), 3) if match else 0.0
    return {"kill_timeout": format_duration(seconds) if seconds else value}


def items(option: str) -> Convert:
    """Return a conversion of a list that is separated by commas or spaces."""
    return lambda value: {option: tuple(re.split(r"[,\s]+", value.strip(", ")))}


def chosen(option: str, **words: str) -> Convert:
    """Return a conversion of single values; others stay. A key ``_1`` is the value 1."""
    known = {word.removeprefix("_").lower(): ours for word, ours in words.items()}
    return lambda value: {option: known.get(value.lower(), value)}
