"""The settings from file, environment and flags. They are read again at each reload."""

import os
import tomllib
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from prefork.config import Layer, Resolved, resolve
from prefork.config.addresses import InheritedSocket
from prefork.config.apps_file import is_apps_file, parse_sections
from prefork.config.flags import parse_arguments
from prefork.config.sources import (
    environment_layer,
    file_layer,
    keyword_layer,
    kubernetes_variables,
)
from prefork.errors import MachineError, UsageError
from prefork.unix.home import registry_path
from prefork.unix.regular_file import read_regular
from prefork.unix.systemd import inherited_sockets

LARGEST_FILE = 1024 * 1024
"""Limit of a settings file, in bytes.

A file of a thousand apps has 200,000 bytes; 1 MB takes half a second to parse.
"""


class SettingsLoader:
    """The sources of the settings of one app, which ``read`` reads again at each call.

    ``arguments``: the command line without the program name. ``environ``: the environment; what
    systemd says in it about passed sockets (LISTEN_FDS) is removed. ``python_options``: the options
    that a caller of ``prefork.run`` gave, by name; they win over the environment.

    ``command_flags`` has the flags that are no options: help, version, check, config, section,
    stage. Raises UsageError for a command line that cannot be read.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environ: MutableMapping[str, str],
        python_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.arguments = list(arguments)
        self._flags, self.command_flags = parse_arguments(arguments)
        self._python_layer = keyword_layer(python_options or {})
        self._environ = dict(environ)
        file = getattr(self.command_flags, "config", "") or environ.get("PREFORK_CONFIG", "")
        self.file = absolute_path(file) if file else ""
        self.section: str = getattr(self.command_flags, "section", "")
        self.stage: str = getattr(self.command_flags, "stage", "")
        if self.section and not self.file:
            raise UsageError("command line: --section needs the file that it is in, with -c")
        self._activated = tuple(InheritedSocket(fd) for fd in inherited_sockets(environ))

    @property
    def kubernetes_variables(self) -> list[str]:
        """Names of variables that look like options, but are set by Kubernetes for a Service."""
        return kubernetes_variables(self._environ)

    def read(self, table: Mapping[str, Any] | None = None) -> Resolved:
        """Read all sources and return the settings with the source of each.

        ``table``: the content of the settings file, if the caller has read it already. Raises
        UsageError.
        """
        layers = [environment_layer(self._environ), self._python_layer, self._flags]
        if self.file:
            table = read_toml_file(self.file) if table is None else table
            layers = [*self._file_layers(table), *layers]
        if getattr(self.command_flags, "managed", False):
            layers.insert(0, self._managed_layer())
        resolved = resolve(layers)
        if self._activated and resolved.sources["bind"] == "default":
            config = replace(resolved.config, bind=self._activated)
            places = {**resolved.sources, "bind": "systemd"}
            return Resolved(config, places)
        if resolved.config.command and resolved.sources["bind"] == "default":
            # The default address is for Python apps; a program may not want any.
            resolved = Resolved(replace(resolved.config, bind=()), resolved.sources)
        return resolved

    def _file_layers(self, table: Mapping[str, Any]) -> list[Layer]:
        folder = os.path.dirname(self.file)
        if self.section:
            (app,) = parse_sections(table, self.file, folder, self.stage, self.section).values()
            return list(app.layers)
        if is_apps_file(table):
            raise UsageError(
                f"{self.file} has several apps: `prefork start {self.file}` starts them, and "
                "--section NAME serves one"
            )
        return [file_layer(table, self.file, folder)]

    def _managed_layer(self) -> Layer:
        """Return the defaults of an app in the background: its logs are in its registry folder."""
        folder = registry_path(self._environ) / self._flags.values["name"]
        return Layer("prefork start", {"log_file": str(folder / "log"), "log_dir": str(folder)})


def absolute_path(file: str) -> str:
    """Return the absolute path of a settings file.

    It begins with the name of the start folder as the shell used it, so that a release behind a
    symlink brings its own file. A path with ``..`` means the real parent.
    """
    return os.path.abspath(file) if ".." in file.split("/") else os.path.join(start_folder(), file)


def start_folder() -> str:
    """Return the folder that the command was started in, by the name that the shell used ($PWD).

    So a symlink such as ``current`` keeps its meaning for later reloads. Raises MachineError.
    """
    try:
        physical, logical = os.getcwd(), os.environ.get("PWD", "")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise MachineError(f"cannot tell the working directory: {reason}; change to one") from error
    try:
        return logical if logical and os.path.samefile(logical, physical) else physical
    except OSError:
        return physical


def read_toml_file(path: str) -> dict[str, Any]:
    """Return the tables of a TOML file. Raises UsageError.

    A master that reloads reads the file as well, so it must be a regular file of a bounded size.
    """
    try:
        table = tomllib.loads(read_regular(path, LARGEST_FILE).decode())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no valid TOML: {error}") from None
    return table
