"""Read and write the text of ``saved.toml``, which says how each app is started again. PURE.

    v = 2

    [apps."web"]
    here = "/srv/web"
    arguments = ["--name", "web", "app:main"]
    environment = ["PATH=/usr/bin"]
    scaled = { workers = 3, settings = 1 }

``here`` is the working directory of the start, and ``arguments`` are those of the master.
``environment`` is what the app keeps (kept_environment.py); without it the app gets that of the
command. ``scaled`` is present if the operator set the number of workers (pool/policy.py). ``v`` is
the version of the format (wire/versions.py).

Folders, arguments and variables are bytes to the kernel. Python decodes them with os.fsdecode,
which turns a byte that is no UTF-8 into a lone surrogate (PEP 383). TOML allows Unicode scalar
values only, so such a text is written as its bytes in hexadecimal: ``{ bytes = "2f746d702fff" }``.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prefork.config.kept_environment import check_variable
from prefork.config.toml_text import toml_string
from prefork.wire.versions import LaterVersionError, require_known_version

VERSION = 2
"""The version of the file."""


@dataclass(frozen=True, slots=True)
class SavedApp:
    """One app: the working directory of its start, and the arguments of its master."""

    working_directory: str
    arguments: tuple[str, ...]
    scaled: object = None
    """The table ``scaled`` of the file, not validated; None if there is none."""
    environment: Mapping[str, str] | None = None


def dump(apps: Mapping[str, SavedApp]) -> str:
    """Return the text of the file."""
    tables = [_format_table(name, app) for name, app in apps.items()] or ["[apps]\n"]
    return "\n".join([f"v = {VERSION}\n", *tables])


def load(text: str) -> dict[str, SavedApp]:
    """Parse a text that ``dump`` returned. Raises LaterVersionError for a text of a later version,
    ValueError for any other text."""
    try:
        content = tomllib.loads(text)
        require_known_version(content, VERSION)
        return {name: _parse_app(table) for name, table in content["apps"].items()}
    except LaterVersionError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a list of saved apps: {error!r}") from error


def _format_table(name: str, app: SavedApp) -> str:
    start = (
        f"here = {_format_text(app.working_directory)}\n{_format_list('arguments', app.arguments)}"
    )
    if app.environment is not None:
        variables = [f"{key}={value}" for key, value in sorted(app.environment.items())]
        start += _format_list("environment", variables)
    return f"[apps.{toml_string(name)}]\n{start}{_format_scaled(app.scaled)}"


def _format_list(key: str, words: Iterable[str]) -> str:
    lines = "".join(f"    {_format_text(word)},\n" for word in words)
    return f"{key} = [\n{lines}]\n"


def _format_scaled(scaled: object) -> str:
    if not isinstance(scaled, Mapping):
        return ""
    numbers = ", ".join(f"{key} = {number:d}" for key, number in scaled.items())
    return f"scaled = {{ {numbers} }}\n"


def _format_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return f'{{ bytes = "{text.encode("utf-8", "surrogateescape").hex()}" }}'
    return toml_string(text)


def _parse_app(table: Mapping[str, Any]) -> SavedApp:
    environment = None
    if "environment" in table:
        pairs = [word.partition("=") for word in _parse_list(table["environment"])]
        environment = {name: value for name, _, value in pairs}
        for name, value in environment.items():
            check_variable(name, value)
    return SavedApp(
        _parse_text(table["here"]),
        tuple(_parse_list(table["arguments"])),
        table.get("scaled"),
        environment,
    )


def _parse_list(words: object) -> list[str]:
    if not isinstance(words, list):
        raise TypeError(words)
    return list(map(_parse_text, words))


def _parse_text(value: object) -> str:
    if isinstance(value, dict):
        return bytes.fromhex(value["bytes"]).decode("utf-8", "surrogateescape")
    if not isinstance(value, str):
        raise TypeError(value)
    return value
