"""Configure the app's logging from a file, before the app is imported (``--log-config``).

The file is a dictionary for ``logging.config.dictConfig``, in TOML, JSON or YAML, or an INI file
for ``fileConfig``, by the end of its name.

Design
------
- **The master parses the file, workers apply it.** A mistake in it refuses the start or the reload
  before a worker is spawned, and all workers of a generation have the same configuration. To apply
  it imports classes of the app, which the master never does; an error there is a boot that fails,
  so the workers before it serve on.
- **Existing loggers stay enabled unless the file says otherwise.** dictConfig disables by default
  those that the file does not name, among them asyncio's, which reports exceptions of tasks that
  no code awaits. uvicorn and Django turn that off as well.
- **YAML needs PyYAML, which is an extra:** TOML and JSON need nothing. prefork's own log is not a
  part of this (observe/logger.py), so no file can hide why an app does not start.
"""

import configparser
import json
import logging.config
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prefork.errors import UsageError
from prefork.unix.regular_file import read_regular

LARGEST_FILE = 1024 * 1024
"""Limit of the file, in bytes."""

LoggingContent = Mapping[str, Any] | configparser.RawConfigParser


@dataclass(frozen=True, slots=True)
class LoggingConfig:
    """The content of the file at ``path``."""

    path: str
    content: LoggingContent

    def apply(self) -> None:
        """Configure ``logging`` in this process. Raises UsageError."""
        try:
            if isinstance(self.content, configparser.RawConfigParser):
                logging.config.fileConfig(self.content, disable_existing_loggers=False)
            else:
                logging.config.dictConfig({"disable_existing_loggers": False, **self.content})
        except Exception as error:  # a class of the app may raise any
            raise UsageError(f"log-config: {self.path}: {_describe(error)}") from error


def read_logging_config(path: str) -> LoggingConfig:
    """Read and parse the file. Raises UsageError, which names it."""
    parse = _PARSERS.get(path.rpartition(".")[2].lower())
    if parse is None:
        raise UsageError(f"log-config: {path}: its name has to end with {', '.join(_ENDINGS)}")
    try:
        content = parse(read_regular(path, LARGEST_FILE).decode())
    except OSError as error:
        raise UsageError(f"log-config: cannot read {path}: {error.strerror}") from error
    except ImportError as error:
        raise UsageError(
            f"log-config: {path} is YAML, which needs PyYAML: pip install 'prefork[yaml]', or "
            "write it as TOML or JSON"
        ) from error
    except Exception as error:  # each parser has errors of its own
        raise UsageError(f"log-config: {path} cannot be parsed: {_describe(error)}") from None
    if isinstance(content, configparser.RawConfigParser):
        return LoggingConfig(path, content)
    if not isinstance(content, dict) or content.get("version") != 1:
        raise UsageError(
            f"log-config: {path}: a dictionary for logging.config.dictConfig is expected, which "
            "has version = 1 at its top"
        )
    return LoggingConfig(path, content)


def _parse_ini(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return parser


def _parse_yaml(text: str) -> Any:
    import yaml  # noqa: PLC0415 - few apps need it

    return yaml.safe_load(text)


_PARSERS: dict[str, Callable[[str], Any]] = {
    "toml": tomllib.loads,
    "json": json.loads,
    "yaml": _parse_yaml,
    "yml": _parse_yaml,
    "ini": _parse_ini,
    "conf": _parse_ini,
}
_ENDINGS = [f".{ending}" for ending in _PARSERS]


def _describe(error: BaseException) -> str:
    """Return an error with what it was caused by: dictConfig names the handler, the cause the
    reason."""
    text = f"{type(error).__name__}: {error}"
    return f"{text}, because of {_describe(error.__cause__)}" if error.__cause__ else text
