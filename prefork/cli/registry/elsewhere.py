"""Find where an app may be that is not in the list: homes of others, and units of systemd.

Design
------
- **A home of another user is named, and not managed.** Root could start the app from there, but it
  would then run as root. The user's own command line starts it as it ran.
- **A unit's entry in** ``/run/prefork`` **goes when its master stops in order,** and a unit may
  fail before its master has one: then nothing of the app is left but the unit file. It is found by
  its command, or by the settings file of that.
"""

import os
import pwd
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from prefork.unix.home import APP_NAME
from prefork.unix.regular_file import read_regular

UNIT_FOLDERS = tuple(
    Path(folder, "systemd/system")
    for folder in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
)
"""The folders of unit files, in the order of systemd.unit(5)."""

_LARGEST_FILE = 1024 * 1024
"""Bytes of a unit or of a settings file that are searched."""


def explain_elsewhere(name: str, home: Path, units: Iterable[Path] = UNIT_FOLDERS) -> str:
    """Return where an app of this name may be, with what to type; empty: it is nowhere.

    ``home``: the folder of the list that does not have it; ``units``: the folders of unit files.
    """
    if not APP_NAME.fullmatch(name):
        return ""
    found = [*_find_in_homes(name, home), *_find_units(name, units)]
    return "; ".join(dict.fromkeys(found))


def _find_in_homes(name: str, home: Path) -> Iterator[str]:
    own = Path(os.path.expanduser("~"), ".prefork")
    if _is_app(own, name, home):
        yield f"{own} has one: PREFORK_HOME={shlex.quote(str(own))} prefork start {name}"
    for user in pwd.getpwall():
        folder = Path(user.pw_dir, ".prefork")
        if folder != own and _is_app(folder, name, home):
            user_name = shlex.quote(user.pw_name)
            yield f"user {user.pw_name} has one: sudo -u {user_name} prefork start {name}"


def _is_app(folder: Path, name: str, home: Path) -> bool:
    """Return whether a home has the app. False for ``home``, and where this user may not look."""
    return folder != home and os.path.isfile(folder / name / "state")


def _find_units(name: str, folders: Iterable[Path]) -> Iterator[str]:
    for folder in folders:
        for path in sorted(folder.glob("*.service")):
            if unit := _unit_that_serves(name, path):
                yield (
                    f"the service {unit} may serve it: journalctl -u {unit} tells why it does "
                    f"not, systemctl start {unit}"
                )


def _unit_that_serves(name: str, path: Path) -> str:
    """Return the unit of a unit file, if it serves an app of this name; empty: it does not."""
    commands = re.findall(r"^ExecStart=(.*prefork.*)$", _read_text(path), re.M)
    if not commands:
        return ""
    unit, at, _ = path.stem.partition("@")
    if at:
        instance = f"{unit}@{name}"
        return instance if any(path.parent.glob(f"*.wants/{instance}.service")) else ""
    texts = [*commands, *map(_read_settings, commands)]
    return path.stem if path.stem == name or any(_names(each, name) for each in texts) else ""


def _read_settings(command: str) -> str:
    """Return the text of the settings file that a command names; empty: it names none."""
    match = re.search(r" (?:-c|--config)[ =](\S+)", command)
    return _read_text(Path(match[1])) if match else ""


def _read_text(path: Path) -> str:
    with suppress(OSError):  # it is none of this user's, or has just been removed
        return read_regular(str(path), _LARGEST_FILE).decode(errors="replace")
    return ""


def _names(text: str, name: str) -> bool:
    """Return whether a command or a settings file has the name as an app, a name or a table."""
    word = re.escape(name)
    pattern = (
        rf"(?:^|[\s\"']){word}:|(?:--name[ =]|-n ){word}(?:\s|$)|^\[apps\.{word}\]"
        rf"|^name *= *[\"']{word}[\"']"
    )
    return re.search(pattern, text, re.M) is not None
