"""The settings from file, environment and flags, read anew for each reload."""

import os
import tomllib
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from prefork.config import Layer, Resolved, resolve
from prefork.config.addresses import Inherited
from prefork.config.flags import read
from prefork.config.sources import environment_layer, file_layer, given_layer
from prefork.errors import UsageError
from prefork.unix.systemd import inherited_sockets


class Settings:
    """Where the settings come from. ``words`` are the flags that are no options.

    ``given`` are options by name that a Python caller set. What systemd says about sockets is
    taken out of ``environ``.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environ: MutableMapping[str, str],
        given: Mapping[str, Any] | None = None,
    ) -> None:
        self._flags, self.words = read(arguments)
        self._given = given_layer(given or {})
        self._environ = dict(environ)
        file = getattr(self.words, "config", "") or environ.get("PREFORK_CONFIG", "")
        self._file = os.path.abspath(file) if file else ""
        self._activated = tuple(Inherited(fd) for fd in inherited_sockets(environ))

    def read(self) -> Resolved:
        """Read all of it. Raises UsageError."""
        layers = [environment_layer(self._environ), self._given, self._flags]
        if self._file:
            layers.insert(0, _read_file(self._file))
        resolved = resolve(layers)
        if self._activated and resolved.places["bind"] == "default":
            config = replace(resolved.config, bind=self._activated)
            places = {**resolved.places, "bind": "systemd"}
            resolved = Resolved(config, places)
        return resolved


def _read_file(path: str) -> Layer:
    try:
        with open(path, "rb") as file:
            table: dict[str, Any] = tomllib.load(file)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no valid TOML: {error}") from None
    return file_layer(table, path, os.path.dirname(path))
