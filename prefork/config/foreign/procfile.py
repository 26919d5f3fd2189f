"""Convert a Procfile, as Heroku, foreman and honcho read it. PURE.

Design
------
- **A line that calls gunicorn, uvicorn, hypercorn or granian becomes an app of prefork,** by the
  same table as a command line that was moved over. Every other line is a program.
- **Variables of a line are replaced by those of the command** (``$PORT``). A line that needs more
  of a shell is run by ``sh -c``.
"""

import posixpath
import re
import shlex
from collections.abc import Mapping
from typing import Any

from prefork.config.flags import own_flags, parse_arguments
from prefork.config.foreign.command_lines import SERVERS, server_words, split_line
from prefork.config.foreign.converted_app import ConvertedApp
from prefork.config.foreign.flag_translator import FlagTranslator
from prefork.config.options import OPTIONS
from prefork.errors import UsageError

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?-([^}]*))?\})")


def convert_procfile(
    text: str, source: str, environ: Mapping[str, str]
) -> tuple[list[ConvertedApp], list[str]]:
    """Return the apps of a Procfile, and notes about the file. Raises UsageError.

    ``source``: its name in messages. ``environ``: the variables that its lines may name.
    """
    apps, notes = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9_-]+):\s*(\S.*?)\s*", line)
        if match is None:
            raise UsageError(f"{source}, line {number}: expected NAME: COMMAND, not {line!r}")
        if match[1] == "release":
            notes.append(f"release: no service; run it before the start: {match[2]}")
        else:
            app = _convert_line(match[1], _expand(match[2], environ))
            _check_variables(app, f"{source}, {match[1]}")
            apps.append(app)
    if not apps:
        raise UsageError(f"{source}: there is no line NAME: COMMAND in it")
    return apps, notes


def convert_command(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of a command line of a server, and notes. Raises UsageError.

    ``words`` begin with the name of the server.
    """
    translator = FlagTranslator(own_flags(), peer=SERVERS[posixpath.basename(words[0])])
    translation = translator.translate(words[1:], is_lenient=True)
    layer, others = parse_arguments(translation.words)
    settings = {
        OPTIONS[name].key: _number_or_text(name, value)
        for name, value in layer.values.items()
        if value != ()
    }
    notes = list(translation.notes)
    if file := getattr(others, "config", ""):
        notes.append(
            f"not carried over: the file {file}; `prefork convert {file}` prints its settings"
        )
    if "app" not in settings:
        notes.append('the command line names no app: add it, as in app = "MODULE:CALLABLE"')
    return settings, notes


def _number_or_text(name: str, value: Any) -> Any:
    """Return a value of a command line in the form of TOML."""
    if not OPTIONS[name].value_type.metavar:
        return value == "true"
    return int(value) if isinstance(value, str) and value.isdigit() and name != "umask" else value


def _convert_line(name: str, line: str) -> ConvertedApp:
    try:
        words = split_line(line)
    except ValueError:
        return ConvertedApp(name, {"command": ["sh", "-c", line]})
    if server := server_words(words):
        settings, notes = convert_command(server)
        return ConvertedApp(name, settings, notes=notes)
    return ConvertedApp(name, {"command": words})


def _check_variables(app: ConvertedApp, where: str) -> None:
    """Note the variables of a line that are not set. Raises UsageError where a server needs one."""
    line = app.settings.get("command", [])
    missing = {match[1] or match[2] for match in _VARIABLE.finditer(" ".join(line[2:]))}
    if line[:2] != ["sh", "-c"] or not missing:
        return
    try:
        words = shlex.split(_VARIABLE.sub("0", line[2]).removeprefix("exec "))
    except ValueError:
        words = []
    names = " and ".join(sorted(missing))
    set_first = " ".join(f"{name}={'8000' if name == 'PORT' else '…'}" for name in sorted(missing))
    if (words and server_words(words)) or "PORT" in missing:
        raise UsageError(
            f"{where}: the line needs {names}, which the environment does not have; type "
            f"{set_first} prefork …"
        )
    app.notes.append(f"{names} is not set; the shell of the line may set it")


def _expand(line: str, environ: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name, default = match[1] or match[2], match[3]
        found = environ.get(name, default)
        return match[0] if found is None else shlex.quote(found)

    return _VARIABLE.sub(value, line)
