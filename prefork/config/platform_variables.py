"""The variables without ``PREFORK_`` that hosting platforms and other servers use. PURE.

PORT                  the port to listen on, on all IPv4 addresses
WEB_CONCURRENCY       the number of workers
FORWARDED_ALLOW_IPS   the proxies whose forwarding headers are used; empty: none

Design
------
- **They are the weakest source above the defaults:** flags, ``PREFORK_*`` variables and files win.
  gunicorn reads them in the same way, as defaults of its settings. They come from the platform, for
  any server, while a file and a flag were written for this one.
- **A value that is overridden is not looked at,** so that a wrong one refuses no start.
- **PORT means** ``0.0.0.0``, as for gunicorn, because the router of the platform connects from
  another machine. It sets no address for a program (``prefork -- node server.js``), which reads
  PORT itself, nor where systemd passed sockets.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from prefork.config.options import OPTIONS
from prefork.config.sources import Layer, Resolved
from prefork.errors import UsageError

PLATFORM_VARIABLES = {
    "PORT": "bind",
    "WEB_CONCURRENCY": "workers",
    "FORWARDED_ALLOW_IPS": "forwarded_allow",
}
"""Each variable, and the option that it sets."""


def platform_layers(
    environ: Mapping[str, str],
    resolved: Resolved,
    needs_address: bool,
    files: Mapping[str, str] = MappingProxyType({}),
) -> list[Layer]:
    """Return a layer for each of the variables that takes effect.

    ``resolved``: the settings of all other sources. ``needs_address``: the default address would be
    used. ``files``: the env-files of the variables that are from one. Raises UsageError for a PORT
    that is none.
    """
    place = files.get("PORT", "environment")
    return list(_layers(environ, resolved, needs_address, place))


def _layers(
    environ: Mapping[str, str], resolved: Resolved, needs_address: bool, place: str
) -> Iterator[Layer]:
    for variable, name in PLATFORM_VARIABLES.items():
        text = environ.get(variable)
        if text is None or resolved.sources[name] != "default":
            continue
        if variable == "FORWARDED_ALLOW_IPS":
            yield Layer(variable, {name: text})  # empty: no proxy is trusted
        elif text and variable == "PORT" and needs_address:
            yield Layer(variable, {name: f"0.0.0.0:{_port(text, place)}"})
        elif text and variable != "PORT":
            yield Layer(variable, {name: text})


def _port(text: str, place: str) -> str:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise UsageError(f"{place}: PORT = {text!r} is wrong: expected a port, as in 8000")
    return text


def describe_platform_variables(
    resolved: Resolved, files: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """Return a line for the log about each variable that took effect.

    ``files``: the env-file that a variable is from, if it is from one.
    """
    lines = []
    for variable, name in PLATFORM_VARIABLES.items():
        if resolved.sources[name] == variable:
            option = OPTIONS[name]
            value = option.value_type.format(getattr(resolved.config, name))
            shown = " ".join(map(str, value)) if isinstance(value, list) else value
            place = files.get(variable, "the environment")
            lines.append(f"{variable} in {place} sets {option.key} = {shown or 'off'}")
    return lines
