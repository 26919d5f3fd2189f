"""Read the sections of a supervisord.conf as supervisor reads them. PURE.

Design
------
- **The syntax is that of Python's configparser,** which supervisor reads its files with: comments
  in a line begin with ``;`` or ``#`` behind a space, and a section that occurs twice, also in an
  included file, is one.
- **Expansions are those of supervisor 4.** ``%(here)s`` is the folder of the file that the value
  stands in, ``%(ENV_x)s`` a variable of the command that converts, and ``%%`` a percent sign. A
  name that is not known is an error, as in supervisor: without it something else would run.
"""

import configparser
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prefork.errors import UsageError

Variables = Mapping[str, "str | int"]
"""The names that ``%(NAME)s`` may have, and their values."""

_EXPANSION = re.compile(r"%(?:(%)|\((\w+)\)(0?\d{0,2})([sd]))?")
_PAIR = re.compile(r"""\s*([A-Za-z_]\w*)\s*=\s*("[^"]*"|'[^']*'|[^\s,"']*)\s*(?:,|\Z)""")


@dataclass(frozen=True, slots=True)
class IniFile:
    """A file that was read: its absolute path, and its text."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class IniValue:
    """The value of a key. ``path``: the file that it stands in."""

    text: str
    path: str


@dataclass(slots=True)
class IniSection:
    """A section: its header without brackets, the first file that has it, its values by key."""

    header: str
    file: str = ""
    values: dict[str, IniValue] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The part before the colon, such as ``program``."""
        return self.header.partition(":")[0].strip()

    @property
    def name(self) -> str:
        """The part after the colon."""
        return self.header.partition(":")[2].strip()

    def has(self, key: str) -> bool:
        """Return whether the section has a value for the key."""
        return key in self.values

    def names_process(self, key: str) -> bool:
        """Return whether the value differs from process to process."""
        found = self.values.get(key)
        return found is not None and "%(process_num)" in found.text

    def text(self, key: str, variables: Variables, default: str = "") -> str:
        """Return a value with its expansions. Raises UsageError."""
        found = self.values.get(key)
        if found is None:
            return default
        names = {"here": posixpath.dirname(found.path), **variables}
        return _expand(found.text, names, f"{found.path}, [{self.header}]: {key}")

    def number(self, key: str, variables: Variables, default: int) -> int:
        """Return a value that is a whole number. Raises UsageError."""
        text = self.text(key, variables, str(default)).strip()
        if not re.fullmatch(r"-?[0-9]{1,9}", text):
            raise self.error(key, f"expected a whole number, not {text!r}")
        return int(text)

    def count(self, key: str, variables: Variables) -> int:
        """Return a value that is a whole number from 0 up. Raises UsageError."""
        number = self.number(key, variables, 0)
        if number < 0:
            raise self.error(key, f"expected a number from 0 up, not {number}")
        return number

    def path(self, key: str) -> str:
        """Return the file that the value of a key stands in."""
        return self.values[key].path

    def error(self, key: str, message: str) -> UsageError:
        """Return the error about the value of a key, or about its lack."""
        path = self.values[key].path if key in self.values else self.file
        return UsageError(f"{path}, [{self.header}]: {key}: {message}")


def read_sections(files: Iterable[IniFile]) -> dict[str, IniSection]:
    """Return the sections of several files by their headers; a later file wins.

    Raises UsageError.
    """
    sections: dict[str, IniSection] = {}
    for file in files:
        parser = configparser.RawConfigParser(
            strict=False, inline_comment_prefixes=(";", "#"), interpolation=None
        )
        try:
            parser.read_string(file.text, file.path)
        except configparser.Error as error:
            raise UsageError(
                f"{file.path} cannot be parsed: {' '.join(str(error).split())}"
            ) from None
        for header in parser.sections():
            section = sections.setdefault(header, IniSection(header, file.path))
            section.values |= {key: IniValue(text, file.path) for key, text in parser.items(header)}
    return sections


def include_patterns(file: IniFile, variables: Variables) -> list[str]:
    """Return the absolute patterns of the files that a file includes. Raises UsageError."""
    section = read_sections([file]).get("include", IniSection("include"))
    folder = posixpath.dirname(file.path)
    return [posixpath.join(folder, each) for each in section.text("files", variables).split()]


def split_pairs(text: str) -> dict[str, str] | None:
    """Return the variables of ``KEY="value",KEY2=value2``; None: the text is none of that kind."""
    pairs, at = {}, 0
    text = text.strip()
    while at < len(text):
        match = _PAIR.match(text, at)
        if match is None:
            return None
        value = match[2]
        pairs[match[1]] = value[1:-1] if value[:1] in ("'", '"') else value
        at = match.end()
    return pairs


def _expand(text: str, names: Variables, where: str) -> str:
    def value(match: re.Match[str]) -> str:
        percent, name, width, kind = match.groups()
        if percent:
            return "%"
        if name is None:
            raise UsageError(f"{where}: a percent sign is written %%")
        if name not in names:
            raise UsageError(f"{where}: %({name})s is not known{_hint(name)}")
        found = names[name]
        if kind == "d" and not isinstance(found, int):
            raise UsageError(f"{where}: %({name})d is no number; write %({name})s")
        return f"%{width}{kind}" % found

    return _EXPANSION.sub(value, text)


def _hint(name: str) -> str:
    variable = name.removeprefix("ENV_")
    return "" if variable == name else f": the environment has no {variable}"
