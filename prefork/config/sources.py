"""Merge the settings of all sources into one Config, and record the source of each. PURE.

Precedence: default < file < environment < command line. Each error message names the key, the
source, what was expected, and for an unknown key the most similar known one.
"""

import difflib
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from prefork.config.addresses import UnixAddress
from prefork.config.certificate_options import CertificateFiles, PasswordSource
from prefork.config.options import OPTIONS, Config, Option
from prefork.errors import UsageError

RESERVED = frozenset(
    f"PREFORK_{name}"
    for name in ("SLOT", "GENERATION", "HOME", "CONFIG", "FIGURES_FD", "NODE_SETTINGS")
)
"""PREFORK_* variables that are no options."""

WATCH_DEFAULTS = {"kill_timeout": 2.0, "stream_timeout": 2.0}
"""Defaults in seconds that replace the usual ones with --watch."""

# Kubernetes sets these variables in every pod for each Service whose name begins with "prefork",
# such as prefork-api (https://kubernetes.io/docs/concepts/services-networking/service/). They must
# not be refused as unknown options.
_KUBERNETES = re.compile(
    r"PREFORK_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_KUBERNETES_PORT = re.compile(r"PREFORK_(\w+_)?PORT")
"""Only its value, tcp://10.0.0.1:80, distinguishes this variable from a misspelled option."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The settings of one source.

    ``source`` is its name in messages, such as the path of a file. ``values`` holds the raw values
    by option name.
    """

    source: str
    values: Mapping[str, Any]
    folder: str = ""
    """The folder at which relative paths start; empty: the current directory."""

    def spell_key(self, option: Option) -> str:
        """Return the name of an option in the notation of this source, such as --kill-timeout."""
        spelled = {
            "environment": option.variable,
            "command line": option.flag,
            "prefork.run()": option.name,
        }
        return spelled.get(self.source, option.key)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The merged settings, and for each option the name of the source of its value."""

    config: Config
    sources: Mapping[str, str]


def resolve(layers: Iterable[Layer]) -> Resolved:
    """Merge ``layers``, in ascending precedence. Raises UsageError at the first wrong value."""
    values: dict[str, Any] = {}
    sources = dict.fromkeys(OPTIONS, "default")
    for layer in layers:
        for name, raw in layer.values.items():
            values[name] = _parse_value(layer, OPTIONS[name], raw)
            sources[name] = layer.source
    return _apply_watch_defaults(Resolved(Config(**values), sources))


def _apply_watch_defaults(resolved: Resolved) -> Resolved:
    """With --watch, replace the default times of a drain by short ones.

    The developer waits for each reload, and a page that reloads itself keeps a stream open.
    """
    config, sources = resolved.config, resolved.sources
    short = [name for name in WATCH_DEFAULTS if sources[name] == "default"] if config.watch else []
    if not short:
        return resolved
    changed: dict[str, Any] = {name: WATCH_DEFAULTS[name] for name in short}
    return Resolved(replace(config, **changed), {**sources, **dict.fromkeys(short, "watch")})


def _parse_value(layer: Layer, option: Option, raw: Any) -> Any:
    try:
        value = option.value_type.parse(raw)
    except ValueError as error:
        value_shown = "" if option.value_type.is_secret else f" = {raw!r}"
        raise UsageError(
            f"{layer.source}: {layer.spell_key(option)}{value_shown} is wrong: expected {error}"
        ) from None
    if option.value_type.is_path and layer.folder:
        return _resolve_paths(layer.folder, value)
    return value


def _resolve_paths(folder: str, value: Any) -> Any:
    """Join the relative paths in a parsed value with ``folder``; empty paths and ``-`` stay."""
    if isinstance(value, tuple):
        return tuple(_resolve_paths(folder, item) for item in value)
    if isinstance(value, UnixAddress):
        return value if value.is_abstract else _resolve_socket(folder, value)
    if isinstance(value, CertificateFiles | PasswordSource):
        return value.resolve_paths(partial(_resolve_paths, folder))
    if not isinstance(value, str) or value in ("", "-"):
        return value
    return posixpath.normpath(posixpath.join(folder, value))


def _resolve_socket(folder: str, address: UnixAddress) -> UnixAddress:
    """Join the path of a unix socket with ``folder``.

    The file ``./@app`` in the folder ``.`` stays a path and does not become the abstract name @app.
    """
    path = _resolve_paths(folder, address.path)
    return replace(address, path=f"./{path}" if path.startswith("@") else path)


_KEYS = tuple(option.key for option in OPTIONS.values())


def file_layer(table: Mapping[str, Any], path: str, folder: str, also: Iterable[str] = ()) -> Layer:
    """Return a table of a TOML file as a layer. Raises UsageError for an unknown key.

    Keys may be written with dashes or underscores. ``path`` names the file in messages, and
    relative paths start at ``folder``. ``also`` lists keys that are no options but that the message
    about an unknown key may suggest.
    """
    keys = (*_KEYS, *also)
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = _option_name(key, path, keys)
        if name in values:
            raise UsageError(f"{path}: {key} is set twice, with a dash and with an underscore")
        values[name] = value
    return Layer(path, values, folder)


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """Return the ``PREFORK_*`` variables as a layer.

    Raises UsageError for a variable that is neither an option nor set by Kubernetes.
    """
    made_by_kubernetes = kubernetes_variables(environ)
    values: dict[str, str] = {}
    names = {option.variable: option.name for option in OPTIONS.values()}
    for variable, text in environ.items():
        if not variable.startswith("PREFORK_") or variable in RESERVED:
            continue
        if variable in names:
            values[names[variable]] = text
        elif variable not in made_by_kubernetes:
            hint = suggest_nearest(variable, names)
            raise UsageError(f"environment: no option is called {variable}{hint}")
    return Layer("environment", values)


def kubernetes_variables(environ: Mapping[str, str]) -> list[str]:
    """List the ``PREFORK_*`` variables that Kubernetes set for a Service, which set no option."""
    return [
        variable
        for variable, text in environ.items()
        if _KUBERNETES.fullmatch(variable)
        or (_KUBERNETES_PORT.fullmatch(variable) and "://" in text)
    ]


def keyword_layer(options: Mapping[str, Any]) -> Layer:
    """Return the keyword arguments of ``prefork.run`` as a layer. Raises UsageError."""
    source = "prefork.run()"
    return Layer(
        source, {_option_name(key, source, OPTIONS): value for key, value in options.items()}
    )


def _option_name(key: str, source: str, spelled: Iterable[str]) -> str:
    name = key.replace("-", "_")
    if name not in OPTIONS:
        raise UsageError(f"{source}: no option is called {key!r}{suggest_nearest(key, spelled)}")
    return name


def suggest_nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the word of ``known`` most like ``word``, or a hint."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else "; see prefork --help"


def unknown_flag_error(word: str, flags: Iterable[str]) -> UsageError:
    """Return the error for a flag that does not exist."""
    flag = word.partition("=")[0]
    return UsageError(f"command line: no option is called {flag}{suggest_nearest(flag, flags)}")
