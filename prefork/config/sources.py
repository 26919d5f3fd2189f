"""Merge the settings of all sources into one Config, and record the source of each. PURE.

Precedence: default < variables of the platform (platform_variables.py) < file < environment <
command line. Each error message names the key, the source, what was expected, and for an unknown
key the most similar known one. One error has all that is wrong.

Design
------
- **An error names what the operator typed.** A flag of another server becomes one of ours before
  its value is parsed, so a layer keeps the words that were typed (``Layer.typed``): ``--port
  99999`` is wrong, and not ``--bind``, which the operator never wrote.
"""

import difflib
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from prefork.config.addresses import UnixAddress
from prefork.config.certificate_options import CertificateFiles, PasswordSource
from prefork.config.foreign.translation import ADDRESS_PARTS, join_address
from prefork.config.options import OPTIONS, POSITIONAL, Config, Option
from prefork.config.problems import Problems
from prefork.errors import UsageError

RESERVED = {
    "PREFORK_CONFIG": "the settings file, where there is no `-c`",
    "PREFORK_HOME": "the folder of the list of apps; default: `~/.prefork`, beside which the verbs "
    "look into the homes of services in `/run/prefork`; where it is set, this folder alone counts",
    "PREFORK_PURE": "`1` builds or runs prefork without its compiled part",
    "PREFORK_LEADER": "`1` makes a process outside of prefork the leader of `prefork.leader()`",
    "PREFORK_SLOT": "in each worker: the number of its slot, from 0 on",
    "PREFORK_GENERATION": "in each worker: the number of its generation, which a reload raises",
    "PREFORK_FIGURES_FD": "in a program: the descriptor to which it sends its figures",
    "PREFORK_NODE_SETTINGS": "in a Node program: what prefork tells the module that it preloads",
}
"""PREFORK_* variables that are no options, and what they are for, in Markdown."""

WATCH_DEFAULTS: dict[str, Any] = {"kill_timeout": 2.0, "stream_timeout": 1.0}
"""Defaults in seconds that replace the usual ones with --watch."""

JSON_DEFAULTS: dict[str, Any] = {"access_log_format": "json"}
"""Defaults that replace the usual ones with --log-format json."""

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
    typed: Mapping[str, str] = field(default_factory=dict)
    """The words that the operator typed for options that were translated, such as ``--port 80``."""
    notes: tuple[str, ...] = ()
    """Lines for the operator about what was translated."""

    def spell_value(self, option: Option, raw: object) -> str:
        """Return an option and its wrong value as messages show them."""
        is_secret = option.value_type.is_secret
        if typed := self.typed.get(option.name):
            return typed.split(" ")[0] if is_secret else typed
        if self.source == "command line" and isinstance(raw, list) and len(raw) == 1:
            raw = raw[0]
        return self.spell_key(option) + ("" if is_secret else f" = {raw!r}")

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
    """Merge ``layers``, in ascending precedence. Raises UsageError, which has all wrong values."""
    values: dict[str, Any] = {}
    sources = dict.fromkeys(OPTIONS, "default")
    problems = Problems()
    for layer in layers:
        for name, raw in layer.values.items():
            with problems:
                values[name] = _parse_value(layer, OPTIONS[name], raw)
                sources[name] = layer.source
    problems.raise_all()
    return _apply_dependent_defaults(Resolved(Config(**values), sources))


def env_file_paths(layers: Iterable[Layer]) -> tuple[str, ...]:
    """Return the value of ``env-file`` alone: these files are read before all else is merged.

    Raises UsageError.
    """
    name = "env_file"
    named = [layer for layer in layers if name in layer.values]
    return resolve(
        replace(layer, values={name: layer.values[name]}) for layer in named
    ).config.env_file


def _apply_dependent_defaults(resolved: Resolved) -> Resolved:
    """Replace the defaults that depend on other options.

    With ``watch`` the times of a drain are short: the developer waits for each reload, and a page
    that reloads itself keeps a stream open. With ``log-format`` json the access log is JSON as
    well: often one collector reads both. Requests have as much time as the loop, see ``timeout``.
    """
    config, sources = resolved.config, dict(resolved.sources)
    requests: dict[str, Any] = {"request_timeout": config.timeout}
    changed: dict[str, Any] = {}
    for option, applies, defaults in (
        ("watch", config.watch, WATCH_DEFAULTS),
        ("log-format", config.log_format == "json", JSON_DEFAULTS),
        ("timeout", sources["timeout"] != "default", requests),
    ):
        for name, value in defaults.items() if applies else ():
            if sources[name] == "default":
                changed[name], sources[name] = value, option
    return Resolved(replace(config, **changed), sources) if changed else resolved


def _parse_value(layer: Layer, option: Option, raw: Any) -> Any:
    try:
        value = option.value_type.parse(raw)
    except ValueError as error:
        is_ours = layer.source == "command line" and option.name not in layer.typed
        hint = _explain_other_meanings(option, raw) if is_ours else ""
        raise UsageError(
            f"{layer.source}: {layer.spell_value(option, raw)} is wrong: expected {error}{hint}"
        ) from None
    if option.value_type.is_path and layer.folder:
        return resolve_paths(layer.folder, value)
    return value


def _explain_other_meanings(option: Option, raw: object) -> str:
    """Return what the flags of an option mean where they mean something else; often nothing."""
    # Only the error about a wrong value needs the table of foreign words.
    from prefork.config.foreign.foreign_table import explain, find_flag  # noqa: PLC0415
    from prefork.config.foreign.foreign_word import How  # noqa: PLC0415

    text = ""
    for flag in filter(None, (option.flag, option.short)):
        others = [
            word
            for word in find_flag(flag)
            if word.takes
            and word.how in (How.OTHER, How.ABSENT)
            and word.ours != option.flag
            and re.fullmatch(word.values or ".*", str(raw), re.DOTALL)
        ]
        text += f"; {explain(others, flag)}" if others else ""
    return text


def resolve_paths(folder: str, value: Any) -> Any:
    """Join the relative paths in a parsed value with ``folder``; empty paths and ``-`` stay."""
    if isinstance(value, tuple):
        return tuple(resolve_paths(folder, item) for item in value)
    if isinstance(value, UnixAddress):
        return value if value.is_abstract else _resolve_socket(folder, value)
    if isinstance(value, CertificateFiles | PasswordSource):
        return value.resolve_paths(partial(resolve_paths, folder))
    if not isinstance(value, str) or value in ("", "-"):
        return value
    return posixpath.normpath(posixpath.join(folder, value))


def _resolve_socket(folder: str, address: UnixAddress) -> UnixAddress:
    """Join the path of a unix socket with ``folder``.

    The file ``./@app`` in the folder ``.`` stays a path and does not become the abstract name @app.
    """
    path = resolve_paths(folder, address.path)
    return replace(address, path=f"./{path}" if path.startswith("@") else path)


_KEYS = tuple(option.key for option in OPTIONS.values())


def file_layer(table: Mapping[str, Any], path: str, folder: str, also: Iterable[str] = ()) -> Layer:
    """Return a table of a TOML file as a layer.

    Keys may be written with dashes or underscores. ``path`` names the file in messages, and
    relative paths start at ``folder``. ``also`` lists keys that are no options but that the message
    about an unknown key may suggest. Raises UsageError if a key is unknown; it then also has what
    is wrong with the values.
    """
    keys = (*_KEYS, *also)
    values: dict[str, Any] = {}
    problems = Problems()
    for key, value in table.items():
        with problems:
            name = _option_name(key, path, keys, value)
            if name in values:
                raise UsageError(f"{path}: {key} is set twice, with a dash and with an underscore")
            values[name] = value
    layer = Layer(path, values, folder)
    _raise_with_values(problems, layer)
    return layer


def _raise_with_values(problems: Problems, layer: Layer) -> None:
    """Raise UsageError if there are problems, together with those of the values of the layer."""
    if problems:
        with problems:
            resolve([layer])
        problems.raise_all()


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """Return the ``PREFORK_*`` variables as a layer.

    Raises UsageError for a variable that is neither an option nor set by Kubernetes.
    """
    made_by_kubernetes = kubernetes_variables(environ)
    values: dict[str, str] = {}
    names = {option.variable: option.name for option in OPTIONS.values()}
    problems = Problems()
    for variable, text in environ.items():
        if not variable.startswith("PREFORK_") or variable in RESERVED:
            continue
        if variable in names:
            values[names[variable]] = text
        elif variable not in made_by_kubernetes:
            with problems:
                hint = suggest_nearest(variable, names)
                raise UsageError(f"environment: no option is called {variable}{hint}")
    layer = Layer("environment", values)
    _raise_with_values(problems, layer)
    return layer


def kubernetes_variables(environ: Mapping[str, str]) -> list[str]:
    """List the ``PREFORK_*`` variables that Kubernetes set for a Service, which set no option."""
    return [
        variable
        for variable, text in environ.items()
        if _KUBERNETES.fullmatch(variable)
        or (_KUBERNETES_PORT.fullmatch(variable) and "://" in text)
    ]


def keyword_layer(options: Mapping[str, Any]) -> Layer:
    """Return the keyword arguments of ``prefork.run`` as a layer. Raises UsageError.

    Those of ``uvicorn.run``, and settings of other servers, that mean the same are taken. None
    leaves an option at its default, as ``log_config=None`` does there.
    """
    source = "prefork.run()"
    values: dict[str, Any] = {}
    typed: dict[str, str] = {}
    notes: list[str] = []
    problems = Problems()
    for key, value in options.items():
        with problems:
            found = _translate_keyword(key, value)
            if found is None:
                found = {_option_name(key, source, OPTIONS, value): value}, ""
            else:
                typed |= dict.fromkeys(found[0], f"{key} = {value!r}")
            values |= found[0]
            notes += filter(None, [found[1]])
    layer = _with_address(Layer(source, values, typed=typed, notes=tuple(notes)), problems)
    _raise_with_values(problems, layer)
    return layer


def _translate_keyword(key: str, value: Any) -> tuple[dict[str, Any], str] | None:
    """Return our settings of an argument, and a line about them; None: it is one of ours, or none.

    True and False for an option that is no flag here are what they mean in other servers.
    """
    name = key.replace("-", "_")
    if name in OPTIONS:
        if value is None:
            return {}, ""
        if not isinstance(value, bool) or not OPTIONS[name].value_type.metavar:
            return None
    # Only arguments of other servers need the table of foreign words.
    from prefork.config.foreign.keywords import translate_keyword  # noqa: PLC0415

    return translate_keyword(name, value)


def _with_address(layer: Layer, problems: Problems) -> Layer:
    """Return the layer with one ``bind`` for host, port and unix socket of other servers."""
    values, typed = dict(layer.values), dict(layer.typed)
    parts = {name: values.pop(name) for name in ADDRESS_PARTS if name in values}
    if not parts:
        return layer
    with problems:
        if "bind" in values:
            raise UsageError(f"prefork.run(): bind and {next(iter(parts))}: one of them says where")
        values["bind"] = [join_address(parts)]
        typed["bind"] = ", ".join(typed.pop(name) for name in parts)
    return replace(layer, values=values, typed=typed)


def _option_name(key: str, source: str, spelled: Iterable[str], value: object = None) -> str:
    """Return the name of an option. ``value``: tells the meanings of foreign words apart.

    Raises UsageError.
    """
    name = key.replace("-", "_")
    if name not in OPTIONS:
        # Only this error needs the table of foreign words.
        from prefork.config.foreign.foreign_table import (  # noqa: PLC0415
            explain,
            find_key,
            select_by_value,
        )

        found = select_by_value(find_key(key), str(value))
        hint = f": {explain(found, key, source)}" if found else suggest_nearest(key, spelled)
        raise UsageError(f"{source}: no option is called {key!r}{hint}")
    return name


def suggest_nearest(word: str, known: Iterable[str], others: Iterable[str] = ()) -> str:
    """Return the end of an error message: the words of ``known`` that ``word`` may mean, or a hint.

    These are the words that begin with it, else the one that is most like it, which may also be one
    of ``others``.
    """
    names = list(dict.fromkeys(known))
    begun = sorted(
        (name for name in names if len(word.strip("-")) > 1 and name.startswith(word)), key=len
    )
    near = begun[:3] or difflib.get_close_matches(word, [*names, *others], n=1)
    return f"; did you mean {' or '.join(near)}?" if near else "; see prefork --help"


def unknown_flag_error(word: str, flags: Iterable[str]) -> UsageError:
    """Return the error for a flag that does not exist.

    The name of a setting of another server, as in ``--errorlog``, is answered by what it is here.
    """
    # Only this error needs the table of foreign words.
    from prefork.config.foreign.foreign_table import (  # noqa: PLC0415
        explain,
        find_key,
        list_taken_flags,
    )

    flag = word.partition("=")[0]
    if (name := flag[2:]) in POSITIONAL:
        shown = {"app": "prefork MODULE:CALLABLE", "command": "prefork -- PROGRAM ARGUMENTS"}[name]
        return UsageError(f"command line: the {name} is written without a flag: {shown}")
    found = find_key(flag.lstrip("-")) if flag.startswith("--") else []
    if found:
        hint = f": {explain(found, flag[2:])}"
    else:
        hint = suggest_nearest(flag, flags, list_taken_flags())
    return UsageError(f"command line: no option is called {flag}{hint}")
