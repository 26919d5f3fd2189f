"""The settings from file, environment and flags. They are read again at each reload."""

import os
import re
import tomllib
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from prefork.config import OPTIONS, Layer, Resolved, resolve
from prefork.config.addresses import Address, InheritedSocket
from prefork.config.apps_file import is_apps_file, parse_sections
from prefork.config.env_file import parse_env_file
from prefork.config.flags import parse_arguments, translate_arguments
from prefork.config.foreign.file_names import (
    explain_gunicorn_file,
    is_ecosystem,
    is_procfile,
)
from prefork.config.platform_variables import describe_platform_variables, platform_layers
from prefork.config.sources import (
    env_file_paths,
    environment_layer,
    file_layer,
    keyword_layer,
    kubernetes_variables,
)
from prefork.config.target import require_target
from prefork.errors import MachineError, UsageError
from prefork.plural import pluralize
from prefork.unix.activation import match_activated
from prefork.unix.descriptor_store import is_stored_name
from prefork.unix.home import registry_path
from prefork.unix.regular_file import read_regular
from prefork.unix.systemd import inherited_descriptors

LARGEST_FILE = 1024 * 1024
"""Limit of a settings file and of an env-file, in bytes.

A file of a thousand apps has 200,000 bytes; 1 MB takes half a second to parse.
"""


class SettingsLoader:
    """The sources of the settings of one app, which ``read`` reads again at each call.

    ``arguments``: the command line without the program name. ``environ``: the environment; what
    systemd says in it about passed sockets (LISTEN_FDS) is removed. ``python_options``: the options
    that a caller of ``prefork.run`` gave, by name; they win over the environment.

    ``command_flags`` has the flags that are no options: help, version, check, config, section,
    stage. ``notes`` has a line for each word of another server that is not needed, or that does
    something else than one may think. Raises UsageError for a command line that cannot be read.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environ: MutableMapping[str, str],
        python_options: Mapping[str, Any] | None = None,
    ) -> None:
        translation = translate_arguments(arguments)
        self.arguments = translation.words
        self._flags, self.command_flags = parse_arguments(self.arguments, translation.typed)
        self._python_layer = keyword_layer(python_options or {})
        self._environ = dict(environ)
        self.notes = [*translation.notes, *self._python_layer.notes, *_foreign_variables(environ)]
        file = getattr(self.command_flags, "config", "") or environ.get("PREFORK_CONFIG", "")
        self.file = absolute_path(file) if file else ""
        self.section: str = getattr(self.command_flags, "section", "")
        self.stage: str = getattr(self.command_flags, "stage", "")
        if self.section and not self.file:
            raise UsageError("command line: --section needs the file that it is in, with -c")
        self.remarks: list[str] = []
        """Notes for the log on what the last ``read`` took from the environment and env-files."""
        self._files_of_variables: dict[str, str] = {}
        passed = inherited_descriptors(environ)
        self.stored = {fd: name for fd, name in passed.items() if is_stored_name(name)}
        """The names of the descriptors that systemd kept for the master before."""
        self._activated = tuple(fd for fd in passed if fd not in self.stored)

    @property
    def asks_for_json(self) -> bool:
        """Return whether flags or environment ask for JSON, before all settings are known."""
        asked = self._flags.values.get("log_format", self._environ.get("PREFORK_LOG_FORMAT"))
        return str(asked).lower() == "json" and "daemon" not in self._flags.values

    @property
    def kubernetes_variables(self) -> list[str]:
        """Names of variables that look like options, but are set by Kubernetes for a Service."""
        return kubernetes_variables(self._environ)

    def read(self, table: Mapping[str, Any] | None = None) -> Resolved:
        """Read all sources and return the settings with the source of each.

        ``table``: the content of the settings file, if the caller has read it already. Raises
        UsageError.
        """
        file: list[Layer] = []
        if self.file:
            file = self._file_layers(read_toml_file(self.file) if table is None else table)
        given = [self._python_layer, self._flags]
        paths = env_file_paths([*file, environment_layer(self._environ), *given])
        variables = self._read_env_files(paths)
        environ = {**variables, **self._environ}
        layers = [*file, environment_layer(environ), *given]
        if self._is_managed:
            layers.insert(0, self._managed_layer())
        resolved = self._with_platform_variables(resolve(layers), layers, environ)
        self.remarks += describe_platform_variables(resolved, self._files_of_variables)
        if variables:
            resolved = self._with_variables(resolved, variables)
        return self._with_log_in_folder(self._with_address(resolved))

    def read_checked(self) -> Resolved:
        """Read all sources, and check that the settings have a target. Raises UsageError.

        An error about an option that was translated also names the words that were typed.
        """
        try:
            resolved = self.read()
            require_target(resolved.config)
        except UsageError as error:
            raise UsageError(self._name_typed(str(error))) from None
        return resolved

    def _name_typed(self, text: str) -> str:
        """Return the text of an error, with the words that were typed for options in it."""
        for layer in (self._flags, self._python_layer):
            for name, typed in layer.typed.items():
                key = OPTIONS[name].key
                if typed.split(" ")[0] not in text and re.search(rf"(?<![\w-]){key}\b(?!-)", text):
                    text += f"; {key} is what you typed as {typed}"
        return text

    def _read_env_files(self, paths: Sequence[str]) -> dict[str, str]:
        """Return the variables of all env-files, and note what to log about each file.

        Raises UsageError.
        """
        self.remarks, self._files_of_variables = [], {}
        variables: dict[str, str] = {}
        for path in paths:
            absolute = absolute_path(path)
            text = read_text_file(absolute, "env-file: ")
            found = parse_env_file(text, absolute, {**variables, **self._environ})
            remark = f"{absolute} sets {pluralize(len(found), 'variable')}"
            if kept := sorted(self._environ.keys() & found.keys()):
                remark += f", but the environment has its own {', '.join(kept)}"
            self.remarks.append(remark)
            variables |= found
            added = found.keys() - self._environ.keys()
            self._files_of_variables |= dict.fromkeys(added, absolute)
        return variables

    def _with_variables(self, resolved: Resolved, variables: Mapping[str, str]) -> Resolved:
        """Add the variables of env-files that neither the environment nor ``env`` has."""
        added = {name: text for name, text in variables.items() if name not in self._environ}
        config, sources = resolved.config, resolved.sources
        if sources["env"] == "default":
            sources = {**sources, "env": "env-file"}
        return Resolved(replace(config, env={**added, **config.env}), sources)

    def _with_platform_variables(
        self, resolved: Resolved, layers: Sequence[Layer], environ: Mapping[str, str]
    ) -> Resolved:
        """Resolve the layers again below the variables of the platform, if one takes effect."""
        needs_address = not self._activated and not resolved.config.command
        found = platform_layers(environ, resolved, needs_address, self._files_of_variables)
        return resolve([*found, *layers]) if found else resolved

    def _with_address(self, resolved: Resolved) -> Resolved:
        """Set the sockets from systemd in ``bind``; no address for a program where no source does.

        Raises UsageError.
        """
        config, sources = resolved.config, resolved.sources
        is_default = sources["bind"] == "default"
        if self._activated and is_default:
            bind: tuple[Address, ...] = tuple(map(InheritedSocket, self._activated))
            return Resolved(replace(config, bind=bind), {**sources, "bind": "systemd"})
        if self._activated:
            bind = match_activated(config.bind, self._activated)
            return Resolved(replace(config, bind=bind), sources)
        if config.command and is_default:
            # The default address is for Python apps; a program may not want any.
            return Resolved(replace(config, bind=()), sources)
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

    @property
    def _is_managed(self) -> bool:
        """Return whether ``prefork start`` starts the app, which then has a folder for its logs."""
        return getattr(self.command_flags, "managed", False)

    def _with_log_in_folder(self, resolved: Resolved) -> Resolved:
        """Replace a standard stream as the log of an app in the background by the file there.

        Command lines and settings of gunicorn name stderr (``--error-logfile -``). It is /dev/null
        after the start, so ``prefork logs`` would have nothing of the master.
        """
        if not self._is_managed or resolved.config.log_file not in ("", "-"):
            return resolved
        layer = self._managed_layer()
        config = replace(resolved.config, log_file=layer.values["log_file"])
        return Resolved(config, {**resolved.sources, "log_file": layer.source})

    def _managed_layer(self) -> Layer:
        """Return the defaults of an app in the background: its logs are in its registry folder."""
        folder = registry_path(self._environ) / self._flags.values["name"]
        return Layer("prefork start", {"log_file": str(folder / "log"), "log_dir": str(folder)})


def _foreign_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a line about the variables of other servers; none: there are none."""
    if not any(name.startswith(("UVICORN_", "GRANIAN_", "GUNICORN_")) for name in environ):
        return []
    # Few environments have such variables.
    from prefork.config.foreign.foreign_variables import (  # noqa: PLC0415
        describe_foreign_variables,
    )

    return describe_foreign_variables(environ)


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
    """Return the tables of a TOML file. Raises UsageError."""
    _refuse_foreign_file(path)
    try:
        return tomllib.loads(read_text_file(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no valid TOML: {error}") from None


def read_text_file(path: str, what: str = "") -> str:
    """Return the text of a settings file. ``what``: how messages begin. Raises UsageError.

    A master that reloads reads the file as well, so it must be a regular file of a bounded size.
    """
    try:
        return read_regular(path, LARGEST_FILE).decode()
    except OSError as error:
        raise UsageError(f"{what}cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{what}{path} is not encoded in UTF-8: {error}") from None


def _refuse_foreign_file(path: str) -> None:
    """Raise UsageError for a settings file of another server or manager."""
    name = os.path.basename(path)
    if name.endswith(".py") or name.startswith("python:"):
        file = "FILE.py" if name.startswith("python:") else path.replace("file:", "")
        raise UsageError(explain_gunicorn_file(path, file))
    if is_ecosystem(name) or is_procfile(name):
        raise UsageError(
            f"{path} is not TOML: `prefork start {path}` starts its apps, and `prefork convert "
            f"{path} > prefork.toml` makes a settings file of it"
        )
