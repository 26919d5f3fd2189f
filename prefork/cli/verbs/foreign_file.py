"""Files of other managers: ``start ecosystem.config.js``, ``start supervisord.conf``, ``convert``.

Design
------
- **``start`` keeps the converted file in the home and starts that.** So the apps are like those of
  any other file: ``start`` of the same file again reloads what changed, ``--only``, ``--env``,
  ``--prune`` and ``--dry-run`` work, and a reload of the master reads TOML and never runs foreign
  code. As in PM2, a change of the file has effect when it is started again. Rejected: to write
  prefork.toml beside the file, because then two files of a project say the same.
- **JavaScript is evaluated by node, and gunicorn.conf.py by Python, in a process of the user who
  types the command,** as PM2 and gunicorn do it. It has ``EVALUATION_TIMEOUT``.
"""

import argparse
import glob
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from prefork.cli.output.standard_output import print_error
from prefork.cli.registry.client import Client
from prefork.cli.serve.settings_loader import LARGEST_FILE, absolute_path, read_toml_file
from prefork.cli.verbs.script_runner import is_run_by_node, script_command
from prefork.config.foreign.converted_app import (
    ConvertedApp,
    format_apps,
    format_single,
    start_paths_at,
)
from prefork.config.foreign.ecosystem import convert_ecosystem
from prefork.config.foreign.file_names import is_ecosystem, is_procfile
from prefork.config.foreign.foreign_word import PeerName
from prefork.config.foreign.procfile import convert_procfile
from prefork.config.foreign.server_settings import convert_server_settings, is_own_file
from prefork.config.foreign.supervisor_programs import convert_supervisor
from prefork.config.foreign.supervisor_sections import IniFile, include_patterns
from prefork.errors import MachineError, UsageError
from prefork.unix.directory import Directory
from prefork.unix.home import replace_file
from prefork.unix.regular_file import read_regular

INI = (".conf", ".ini")
EVALUATION_TIMEOUT = 30.0
"""Seconds that the evaluation of a file may take."""

_NODE = """
const { pathToFileURL } = require("url");
console.log = console.info = console.error;
import(pathToFileURL(process.argv[1]).href).then(
  (module) => {
    require("fs").writeSync(1, "\\n" + JSON.stringify(module.default ?? module) + "\\n");
    process.exit(0);
  },
  (error) => { console.error(error); process.exit(1); });
"""

_PYTHON = """
import json, os, runpy, sys, types
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
sys.path.insert(0, os.getcwd())
names = runpy.run_path(sys.argv[1])
print("\\n" + json.dumps({
    name: f"function {name}" if callable(value) else value
    for name, value in names.items()
    if not name.startswith("_") and not isinstance(value, (types.ModuleType, type))
}, default=str), file=out)
"""


def convert(_client: Client, options: argparse.Namespace) -> int:
    """Print the prefork.toml that a file of another manager makes. Return the exit code."""
    path, name = absolute_path(options.file), posixpath.basename(options.file)
    if name.endswith(".py"):
        values = _evaluate([sys.executable, "-c", _PYTHON, path], path)
        text = format_single(convert_server_settings(values, PeerName.GUNICORN), name)
    elif name.endswith(".toml"):
        values = read_toml_file(path)
        if name == "prefork.toml" or is_own_file(values):
            raise UsageError(
                f"{options.file} has the keys of prefork already, so there is nothing to convert: "
                f"`prefork start {options.file}` starts it, `prefork -c {options.file}` serves it"
            )
        text = format_single(convert_server_settings(values, PeerName.HYPERCORN), name)
    elif is_ecosystem(name) or is_procfile(name) or name.endswith(INI):
        apps, notes = _read_apps(path, "")
        text = format_apps(apps, name, notes)
    else:
        raise UsageError(
            f"{options.file}: convert reads ecosystem.config.js, .cjs, .mjs, .json and .yaml, a "
            "Procfile, supervisord.conf, gunicorn.conf.py, and hypercorn.toml"
        )
    print(text, end="")
    return 0


def convert_to_home(client: Client, path: str) -> str:
    """Write the converted file into the home and return its path. Prints what is not carried over.

    Raises PreforkError.
    """
    apps, notes = _read_apps(path, os.path.dirname(path))
    for note in notes:
        print_error(note)
    for app in apps:
        for note in app.notes:
            print_error(f"{app.name}: {note}")
    with Directory.open(client.home, make=0o700, strict=True):
        pass  # it is there now, and no other user may exchange it
    converted = converted_path(client, path)
    replace_file(converted, format_apps(apps, path, notes))
    return str(converted)


def converted_path(client: Client, path: str) -> Path:
    """Return the path in the home that the file at ``path`` is converted to."""
    number = zlib.crc32(path.encode("utf-8", "surrogateescape"))
    return client.home / f"{posixpath.basename(path)}.{number:08x}.toml"


def _read_apps(path: str, folder: str) -> tuple[list[ConvertedApp], list[str]]:
    """Return the apps of a file, and notes about it.

    ``folder``: where relative paths start, empty: beside the file.
    """
    name = posixpath.basename(path)
    if name.endswith(INI):
        return _read_supervisor(path, folder)
    if is_procfile(name):
        apps, notes = convert_procfile(_read_text(path), path, os.environ)
        for app in apps:
            at = os.path.normpath(os.path.join(folder, app.settings.get("chdir", "")))
            app.settings = start_paths_at(app.settings, at)
            app.settings |= {"chdir": at} if folder else {}
        return apps, notes
    here = os.path.dirname(path)
    content = _read_ecosystem(path, name)
    return convert_ecosystem(
        content, path, folder, lambda script, at: _script_words(script, at, here), os.environ
    ), []


def _read_supervisor(path: str, folder: str) -> tuple[list[ConvertedApp], list[str]]:
    """Return the apps of a supervisord.conf and of the files that it includes, and notes."""
    variables = {f"ENV_{name}": value for name, value in os.environ.items()}
    variables["host_node_name"] = os.uname().nodename
    files = [IniFile(path, _read_text(path))]
    for pattern in include_patterns(files[0], variables):
        # In the order of supervisor, which sorts what each pattern finds.
        files += [IniFile(each, _read_text(each)) for each in sorted(glob.glob(pattern))]
    return convert_supervisor(files, variables, folder)


def _script_words(script: str, folder: str, here: str) -> list[str]:
    """Return the words that run a script of an ecosystem file. ``here``: the folder of the file.

    PM2 runs a script without a suffix, such as ``bin/www``, by node; so does a script that says so.
    """
    at = os.path.join(here, folder)
    words = script_command(script, at)
    is_bare = len(words) == 1 and not posixpath.splitext(script)[1]
    return ["node", *words] if is_bare and is_run_by_node(os.path.join(at, script)) else words


def _read_ecosystem(path: str, name: str) -> Any:
    if re.search(r"\.[cm]?js$", name):
        node = shutil.which("node")
        if node is None:
            raise UsageError(f"{path} is JavaScript, and there is no node in PATH to read it")
        return _evaluate([node, "-e", _NODE, path], path)
    try:
        if name.endswith(".json"):
            return json.loads(_read_text(path))
        return _parse_yaml(_read_text(path), path)
    except ValueError as error:
        raise UsageError(f"{path} cannot be parsed: {error}") from None


def _parse_yaml(text: str, path: str) -> Any:
    try:
        yaml = import_module("yaml")  # no dependency: only some files of PM2 need it
    except ImportError:
        raise UsageError(f"{path}: reading YAML needs PyYAML: pip install pyyaml") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(error) from None


def _read_text(path: str) -> str:
    try:
        return read_regular(path, LARGEST_FILE).decode()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} cannot be read as text: {error}") from None


def _evaluate(command: Sequence[str], path: str) -> Any:
    """Run a command that prints the value of a file as JSON in its last line; return the value."""
    _read_text(path)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=EVALUATION_TIMEOUT,
            cwd=Path(path).parent,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"{path}: its evaluation took more than {EVALUATION_TIMEOUT:g} s"
        ) from None
    except OSError as error:
        raise MachineError(f"cannot run {command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise UsageError(f"{path} could not be evaluated; its error is above")
    return json.loads(done.stdout.splitlines()[-1])
